# What the tests of attached disks share, beside functions.bash. The disk's socket is $disk_socket.
#
#   attach EXPORT [OPTION…]     from the server that functions.bash has started
#   detach [OPTION…]            and whatever is left at the end goes by force
#   disk, disk_fails QEMU_IO_COMMAND…
#   redirect_disk DEST [OPTION…]
#   disk_field NAME             what `status` says of it
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/functions.bash"

export PLYDISK_RUN=$work/run PLYDISK_PLUGIN=$plugin
disk_socket=$work/disk.sock
# Seconds, for what must not wait for a server. Under a sanitizer all takes longer.
soon=10
[[ -z ${PLYDISK_PRELOAD:-} ]] || soon=30

# The engine is nbdkit, too.
preload_nbdkit

# attach @STATION | EXPORT [OPTION…]: "@pc1" is the image of the store for this station.
attach() {
  local export=$1 station=${1#*@}
  shift
  [[ $export != @* ]] || export=debian$export
  plydisk attach "$(uri "$export")" --socket "$disk_socket" --station "$station" "$@" > /dev/null
}

detach() { plydisk detach "$disk_socket" "$@" > /dev/null; }

# Tests may have a uri() of their own, for their server.
disk() { (uri() { printf 'nbd+unix:///?socket=%s' "$disk_socket"; } && io '' "$@"); }
disk_fails() { ! disk "$@" 2> "$work/io.txt"; }
redirect_disk() { plydisk redirect "$disk_socket" "$@" > /dev/null 2> "$work/redirect.txt"; }
disk_field() { plydisk status "$disk_socket" --json | json_value "it['$1']"; }
disk_folder() { printf '%s/*' "$PLYDISK_RUN" | xargs -I{} sh -c 'echo {}'; }
has_supervisor() { [[ $(disk_field state) == attached ]]; }
end_engine() { kill -KILL "$(< "$(disk_folder)/engine.pid")"; }
# was_back TIMES: whether the disk was served again more often than this.
times_back() { grep -c 'is served again' "$(disk_folder)/log" || true; }
was_back() { (($(times_back) > $1)); }
no_engine() { ! pgrep -f "unix $disk_socket" > /dev/null; }

force_detach() {
  local record
  for record in "$PLYDISK_RUN"/*/disk.json; do
    [[ ! -e $record ]] ||
      plydisk detach --force "$(json_value "it['socket']" < "$record")" > /dev/null 2>&1
  done
}
cleanup_fn force_detach
keep_log() { cat "$PLYDISK_RUN"/*/log > "$work/disk.log" 2> /dev/null; }
cleanup_fn keep_log
