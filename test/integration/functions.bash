# What the integration tests share, for bash scripts to source. It makes the folder $work, which
# goes when the script ends, with all that was registered by cleanup_fn.
#
#   requires PROGRAM…, requires_root         skip the test (77) if something is missing
#   cleanup_fn COMMAND…                      run it at the end, the last one first
#   serve NBDKIT_ARGUMENT…                   nbdkit with the plugin on a Unix socket
#   serve_store, stop_server, kill_server    the same with $store; how it ends
#   plydisk VERB…                            the command on $store
#   uri EXPORT                               where that export of the server is
#   io EXPORT QEMU_IO_COMMAND…               commands for qemu-io, over one connection
#   open_client NAME EXPORT, ask, close_client   a connection that stays open meanwhile
#   refused SENTENCE COMMAND…                it must fail, and say this
#
# Programs under a sanitizer: PLYDISK_PRELOAD is the libraries that nbdkit needs to load the plugin.
# shellcheck shell=bash

set -Eeuo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH LC_ALL=C

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
plugin=${PLYDISK_PLUGIN:-$repository/build/plugin/nbdkit-plydisk-plugin.so}
program=${PLYDISK_COMMAND:-$repository/build/client/plydisk}

work=
cleanup_commands=()
server_pid=
socket=
port=
store=

say() { printf '%s\n' "$*"; }
fail() { trap - ERR; printf 'FAILED: %s\n' "$*" >&2; exit 1; }
skip() { printf 'SKIPPED: %s\n' "$*" >&2; exit 77; }

requires() {
  local program
  for program; do
    command -v "$program" > /dev/null || skip "$program is missing: ./bootstrap deps installs it"
  done
}

requires_root() { ((EUID == 0)) || skip 'only root can do this'; }

cleanup_fn() {
  local words
  printf -v words '%q ' "$@"
  cleanup_commands=("$words" "${cleanup_commands[@]}")
}

cleanup() {
  local status=$? words log
  trap - EXIT ERR
  set +e
  for words in "${cleanup_commands[@]}"; do eval "$words"; done
  if ((status != 0 && status != 77)); then
    for log in "$work"/*.log; do
      [[ -s $log ]] || continue
      printf -- '--- the end of %s\n' "${log##*/}" >&2
      tail -n 40 "$log" >&2
    done
  fi
  rm -rf "$work"
  exit "$status"
}

is_running() { kill -0 "$1" 2> /dev/null; }

# wait_until SECONDS COMMAND…: three times as long under a sanitizer, where all takes longer.
wait_until() {
  local tries=$(($1 * 20))
  [[ -z ${PLYDISK_PRELOAD:-} ]] || tries=$((3 * tries))
  shift
  until "$@"; do
    ((tries-- > 0)) || return 1
    sleep 0.05
  done
}

# freeze PID…: until they are sent SIGCONT. Threads may go on for a moment after the signal was sent,
# long enough to answer somebody.
freeze() {
  local process
  kill -STOP "$@"
  for process; do wait_until 10 is_frozen "$process" || fail "process $process does not stop"; done
}
is_frozen() { ! cat "/proc/$1/task"/*/status 2> /dev/null | grep '^State:' | grep -qv stopped; }

# --- the server

# Not a function: in the background it would be a shell of its own, and the signals its alone.
nbdkit=(env "LD_PRELOAD=${PLYDISK_PRELOAD:-}" nbdkit)

# For an nbdkit that the command starts.
preload_nbdkit() {
  [[ -n ${PLYDISK_PRELOAD:-} ]] || return 0
  mkdir "$work/bin"
  printf '#!/bin/sh\nLD_PRELOAD=%s exec %s "$@"\n' "$PLYDISK_PRELOAD" "$(command -v nbdkit)" \
    > "$work/bin/nbdkit"
  chmod +x "$work/bin/nbdkit"
  export PATH=$work/bin:$PATH
}

# Starts a server that listens as the words say, and waits until it does.
start_server() {
  local pidfile=$work/nbdkit.pid
  rm -f "$pidfile"
  "${nbdkit[@]}" --foreground --exit-with-parent --pidfile "$pidfile" "$@" \
    < /dev/null 2>> "$work/nbdkit.log" &
  server_pid=$!
  while is_running "$server_pid" && [[ ! -s $pidfile ]]; do sleep 0.02; done
  [[ -s $pidfile ]]
}

serve() {
  socket=$work/socket
  rm -f "$socket"
  start_server --unix "$socket" "$plugin" "$@" || fail 'nbdkit does not start'
}

# serve_tcp NBDKIT_ARGUMENT…: on a free port of localhost, which goes to $port.
serve_tcp() {
  local attempt
  for attempt in {1..20}; do
    # Below the range from which the system takes ports for outgoing connections.
    port=$((20000 + SRANDOM % 10000))
    start_server --ipaddr localhost --port "$port" "$plugin" "$@" && return
    wait "$server_pid" || true
    grep -q 'Address already in use' "$work/nbdkit.log" || break
  done
  fail "nbdkit does not start (attempt $attempt)"
}

serve_store() { serve "store=$store" "$@"; }

# Asks it to end, and expects that it does so without a complaint. nbdkit waits for clients that are
# there to go.
stop_server() {
  local status=0 pid=$server_pid client
  kill "$pid" 2> /dev/null || true
  for client in "${!client_pid[@]}"; do close_client "$client"; done
  server_pid=
  wait_until 30 has_ended "$pid" || { kill -KILL "$pid"; fail 'the server does not end'; }
  wait "$pid" || status=$?
  ((status == 0)) || fail "the server ended with status $status"
}

# Ended, though not waited for.
has_ended() { ! is_running "$1" || [[ $(ps -o stat= -p "$1") == Z* ]]; }

kill_server() {
  kill -KILL "$server_pid" 2> /dev/null || true
  wait "$server_pid" 2> /dev/null || true
  server_pid=
}

# At the end of a test, whatever came of it.
end_server() {
  [[ -n $server_pid ]] || return 0
  kill -KILL "$server_pid" 2> /dev/null
  wait "$server_pid" 2> /dev/null
}

uri() { printf 'nbd+unix:///%s?socket=%s' "$1" "$socket"; }

server_says() { grep -qF -- "$1" "$work/nbdkit.log"; }

# --- the store and the command

plydisk() { "$program" --store "$store" "$@"; }

# A new store whose sessions end at once with their last connection, or soon after.
new_store() {
  store=$work/store
  plydisk init > /dev/null
  plydisk param set session-grace "${1:-0}" > /dev/null
}

# field VERB… EXPRESSION: a value out of what the command prints as JSON, by a Python expression
# on `it`.
field() {
  plydisk "${@:1:$#-1}" --json | json_value "${!#}"
}

json_value() {
  python3 -c '
import json, sys
it = json.load(sys.stdin)
value = eval(sys.argv[1])
print(json.dumps(value) if isinstance(value, (dict, list, bool, type(None))) else value)' "$1"
}

# session IMAGE@STATION FIELD: prints it, or nothing if there is no such session.
session() {
  field session list "''.join(str(s['$2']) for s in it if s['image'] + '@' + str(s['station']) == '$1')"
}

has_state() { [[ $(session "$1" state) == "$2" ]]; }

# The next connection then begins a new session: for the server, the station has been rebooted.
is_over() {
  case $(session "$1" state) in
    live | waiting) return 1 ;;
  esac
}

wait_for_end_of() {
  local session
  for session; do
    wait_until 30 is_over "$session" || fail "the session $session does not end"
  done
}

# All of the store that a refusal must leave as it is.
fingerprint() {
  local file
  (
    cd "$store"
    find images layers -printf '%p %y %s %m\n' | sort
    find images layers -type f ! -name '*.sqlite*' ! -name map -print0 | sort -z | xargs -0 -r sha256sum
  )
  for file in image station session layer param; do
    # Counters and connections are not what the store is.
    plydisk "$file" list --json | grep -vE '"(bytes_read|bytes_written|requests|flushes|connections)"'
  done
}

# --- clients

# As a station does it: without "writeback" each write would be FUA.
# io EXPORT COMMAND…: fails if one of them does, or finds another pattern than it was told.
io() {
  local export=$1 word words=() output status=0
  shift
  for word; do words+=(-c "$word"); done
  output=$(qemu-io -f raw -t writeback "${words[@]}" "$(uri "$export")" 2>&1) || status=$?
  if ((status != 0)) || grep -qiE 'failed|error' <<< "$output"; then
    printf '%s\n' "$output" >&2
    return 1
  fi
}

# Whether those commands fail.
io_fails() { ! io "$@" 2> "$work/io.txt"; }

declare -A client_in client_out client_pid

open_client() {
  local name=$1 pipe=$work/client-$1 in out
  mkfifo "$pipe.in" "$pipe.out"
  # Open for both directions: neither side waits for the other to open it.
  exec {in}<> "$pipe.in" {out}<> "$pipe.out"
  rm "$pipe.in" "$pipe.out"
  qemu-io -f raw -t writeback "$(uri "$2")" <&"$in" >&"$out" 2>&1 &
  client_in[$name]=$in client_out[$name]=$out client_pid[$name]=$!
  client_answer "$name"
}

# What it prints until it asks for the next command, in $answer; fails if that is an error.
client_answer() {
  local name=$1 part tries=60
  answer=
  while true; do
    if IFS= read -r -t 1 -d '>' -u "${client_out[$name]}" part; then
      answer+=$part
      break
    fi
    answer+=$part
    is_running "${client_pid[$name]}" || return 1
    ((tries-- > 0)) || fail "no answer for client $name: $answer"
  done
  ! grep -qiE 'failed|error' <<< "$answer"
}

# try NAME QEMU_IO_COMMAND: over the connection that open_client made; ask: and it must succeed.
try() {
  printf '%s\n' "$2" >&"${client_in[$1]}"
  client_answer "$1"
}

ask() { try "$@" || fail "$1: $2: $answer"; }

close_client() {
  local in=${client_in[$1]} out=${client_out[$1]} pid=${client_pid[$1]}
  unset "client_in[$1]" "client_out[$1]" "client_pid[$1]"
  printf 'q\n' >&"$in"
  exec {in}>&-
  wait "$pid" || true
  exec {out}>&-
}

end_clients() {
  local pid
  for pid in "${client_pid[@]}"; do
    kill -KILL "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
  done
}

# --- refusals

# refused SENTENCE COMMAND…: it exits 1, and complains in one line that has this sentence in it.
refused() { refused_with 1 "$@"; }

refused_with() {
  local expected=$1 sentence=$2 status=0 complaint
  shift 2
  "$@" > "$work/refused.out" 2> "$work/refused.err" || status=$?
  ((status == expected)) || fail "exit status $status instead of $expected: $*: $(< "$work/refused.err")"
  complaint=$(grep -v '^Try "' "$work/refused.err" || true)
  [[ $complaint == *"$sentence"* ]] || fail "$*: says \"$complaint\" instead of \"$sentence\""
  (($(wc -l <<< "$complaint") == 1)) || fail "$*: more than one line: $complaint"
}

# refused_at_connect SENTENCE EXPORT: the server's log gets this sentence, the client an error.
refused_at_connect() {
  local log=$work/nbdkit.log before
  before=$(stat -c %s "$log" 2> /dev/null || echo 0)
  if nbdinfo --size "$(uri "$2")" > "$work/refused.out" 2>&1; then
    fail "the export \"$2\" is served, instead of: $1"
  fi
  said_since() { tail -c +$((before + 1)) "$log" | grep -qF -- "$1"; }
  wait_until 5 said_since "$1" || fail "\"$2\": the server says $(tail -c +$((before + 1)) "$log")"
}

# refused_to_serve SENTENCE NBDKIT_ARGUMENT…: nbdkit does not start, and says why in one line.
refused_to_serve() {
  local sentence=$1 status=0
  shift
  timeout 30 "${nbdkit[@]}" --unix "$work/refused.socket" "$plugin" "$@" --run true < /dev/null \
  > "$work/refused.out" 2> "$work/refused.err" || status=$?
  rm -f "$work/refused.socket"
  ((status != 0)) || fail "nbdkit starts with $*"
  grep -qF -- "$sentence" "$work/refused.err" || fail "$*: says $(< "$work/refused.err")"
}

# In a mount namespace of its own: what one that is made meanwhile, by another test, has a copy of is not
# unmounted until that is gone.
if [[ $EUID == 0 && -z ${PLYDISK_OWN_MOUNTS:-} ]] && unshare --mount true 2> /dev/null; then
  PLYDISK_OWN_MOUNTS=yes exec unshare --mount "$0" "$@"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/plydisk.XXXXXX")
# What the programs under test leave about stays in it too.
export TMPDIR=$work
trap cleanup EXIT
trap 'printf "FAILED: %s, line %s: %s\n" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR
trap 'exit 143' TERM
trap 'exit 130' INT
cleanup_fn end_server
cleanup_fn end_clients
