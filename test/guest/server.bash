# Servers for guests, for bash scripts to source after guest.bash.
#
#   serve NBDKIT_ARGUMENT…     starts nbdkit on a free port of 127.0.0.1: $server_port, $server_pid
#   stop_server, kill_server   ends it; the latter gives it no time to tidy up
#   new_store, serve_store     the same with the plydisk plugin and a store at $store
#   serve_store_again          at the port that the last one had
#   plydisk VERB…              the command on that store
# shellcheck shell=bash disable=SC2154,SC2034

server_pid=
server_port=
store=
plugin=$PLYDISK_BUILD/plugin/nbdkit-plydisk-plugin.so

# serve_at PORT NBDKIT_ARGUMENT…: returns 1 if something else has the port.
serve_at() {
  local pidfile=$work/nbdkit.pid log=$work/nbdkit.log
  server_port=$1
  shift
  rm -f "$pidfile"
  nbdkit --foreground --exit-with-parent --pidfile "$pidfile" --ipaddr 127.0.0.1 \
    --port "$server_port" "$@" < /dev/null >> "$log" 2>&1 &
  server_pid=$!
  while is_running "$server_pid" && [[ ! -s $pidfile ]]; do sleep 0.1; done
  if [[ -s $pidfile ]]; then
    cleanup_pids=("$server_pid")
    return
  fi
  wait "$server_pid" || true
  tail -n 1 "$log" | grep -q 'Address already in use' || fail 'nbdkit does not start'
  return 1
}

serve() {
  local attempt
  for attempt in {1..20}; do
    # Below the range from which the system takes ports for outgoing connections.
    serve_at $((20000 + SRANDOM % 10000)) "$@" && return
  done
  fail "nbdkit finds no port (attempt $attempt)"
}

stop_server() {
  stop_process "$server_pid"
  cleanup_pids=()
}

kill_server() {
  kill_process "$server_pid"
  cleanup_pids=()
}

requires_plydisk() {
  requires nbdkit
  [[ -e $plugin ]] || skip "no plugin at $plugin: ./bootstrap build makes it"
  [[ -x $PLYDISK_BUILD/client/plydisk ]] || skip "no plydisk command: ./bootstrap build makes it"
}

plydisk() { "$PLYDISK_BUILD/client/plydisk" --store "$store" "$@"; }

# A new store whose sessions end one second after their last connection.
new_store() {
  store=$work/store
  plydisk init
  plydisk param set session-grace 1
  plydisk param set attached-grace 1
}

serve_store() { serve "$plugin" "store=$store"; }
# At the port that it had.
serve_store_again() { serve_at "$server_port" "$plugin" "store=$store"; }

# session_field IMAGE@STATION FIELD: prints the field of that session, or nothing if there is none.
session_field() {
  plydisk session list --json | python3 -c '
import json, sys
image, station = sys.argv[1].split("@")
sessions = json.load(sys.stdin)
if isinstance(sessions, dict):
    sessions = sessions["sessions"]
for session in sessions:
    if session["image"] == image and session["station"] == station:
        print(session[sys.argv[2]])
' "$1" "$2"
}

# wait_until SECONDS COMMAND…
wait_until() {
  local tries=$(($1 * 10))
  shift
  until "$@"; do
    ((tries-- > 0)) || return 1
    sleep 0.1
  done
}

session_has_ended() {
  case $(session_field "$1" state) in
    live | waiting) return 1 ;;
    *) return 0 ;;
  esac
}

# The next connection then begins a new session: for the server, the station has been rebooted.
wait_for_end_of() {
  local session
  for session; do
    wait_until 30 session_has_ended "$session" || fail "the session $session does not end"
  done
}
