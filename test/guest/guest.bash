# Guests: virtual machines with a stock Debian kernel and a bare busybox system, for bash scripts
# to source. Several may run at once, each by a name.
#
#   guest_setup [FILE[=TARGET]…]           once, first; FILEs ride along (see make-initramfs)
#   guest_start pc1 [QEMU_OPTION…]         boots it; returns when it takes scripts
#   guest_run pc1 [SECONDS] <<< 'script'   runs it, prints what it prints, returns its status
#   guest_must pc1 [SECONDS] <<< 'script'  the same; a script that fails ends the test
#   guest_cut pc1                          a power cut
#   guest_off pc1                          a clean shutdown; or by a COMMAND behind it
#   guest_becomes pc1 PROGRAM SECONDS      that takes the place of process 1; returns when it takes scripts
#
# guest_setup sets what they boot and which network they have, for qemu: guest_boots, guest_net; if the latter
# is made empty, they have no card.
# Scripts have inside/functions at hand. The guest sees this machine as 10.0.2.2, and a server here
# sees the guest as 127.0.0.1. Only processes that were started here are ever killed, by their ids.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PLYDISK_BUILD=${PLYDISK_BUILD:-$repository/build}
export PATH=$PATH:/usr/sbin:/sbin
# A boot takes 5 s on an idle machine. About one in a hundred hangs before its first program, waiting
# for a timer that the emulated processor has lost: so a second and a third attempt, each longer.
boot_seconds=(60 120 240)
# On a busy machine, ten ticks of a clock take longer than a kernel wants to wait when it checks its timer.
guest_arguments='console=ttyS0 panic=-1 no_timer_check'

declare -A guest_pid guest_in guest_out
work=
cleanup_pids=()  # servers: ended with the script

say() { printf '%s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
skip() { printf 'SKIPPED: %s\n' "$*" >&2; exit 77; }

# requires PROGRAM…: skips the test if one is missing.
requires() {
  local program
  for program; do
    command -v "$program" > /dev/null || skip "$program is missing: ./bootstrap deps installs it"
  done
}

is_running() { kill -0 "$1" 2> /dev/null; }

# Of a process that `unshare --net` starts: for a moment it is still in this one's network.
has_own_network() { [[ $(readlink "/proc/$1/ns/net") != $(readlink /proc/self/ns/net) ]]; }

# stop_process PID [SECONDS]: asks it to end, and kills it if it has not after that time.
stop_process() {
  local pid=$1 tries=$((${2:-5} * 10))
  kill "$pid" 2> /dev/null || true
  while is_running "$pid" && ((tries-- > 0)); do sleep 0.1; done
  kill -KILL "$pid" 2> /dev/null || true
  wait "$pid" 2> /dev/null || true
}

kill_process() {
  kill -KILL "$1" 2> /dev/null || true
  wait "$1" 2> /dev/null || true
}

cleanup() {
  local status=$? pid log
  trap - EXIT
  for pid in "${guest_pid[@]}"; do kill_process "$pid"; done
  for pid in "${cleanup_pids[@]}"; do stop_process "$pid"; done
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

# nbdkit_files PLUGIN…: what guest_setup takes for a guest that shall serve itself, a line each.
nbdkit_files() {
  local directory plugin
  directory=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
  command -v nbdkit
  for plugin; do
    plugin=$directory/nbdkit-$plugin-plugin.so
    printf '%s\n' "$plugin=$plugin"
  done
}

# Makes the folder $work and the guests' system in it; everything goes when the script ends.
guest_setup() {
  requires qemu-system-x86_64 busybox cpio nbd-client sfdisk mkfs.ext4 e2fsck blkid
  local kernel=$PLYDISK_BUILD/guest
  [[ -e $kernel/complete ]] || skip "no kernel for guests: ./bootstrap deps gets it"
  work=$(mktemp -d "${TMPDIR:-/tmp}/plydisk-guest.XXXXXX")
  trap cleanup EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  vmlinuz=$kernel/vmlinuz
  initrd=$work/initrd
  "$repository/test/guest/make-initramfs" "$kernel" "$initrd" "$@"
  guest_boots=(-kernel "$vmlinuz" -initrd "$initrd" -append "$guest_arguments")
  guest_net=user,id=net
}

guest_is_running() { [[ -n ${guest_pid[$1]:-} ]] && is_running "${guest_pid[$1]}"; }

# guest_line NAME DEADLINE: one line from the guest in $line; 1 if the guest is dead or the time,
# in seconds since this shell began, has come.
guest_line() {
  local part fd=${guest_out[$1]}
  line=
  while true; do
    if IFS= read -r -t 1 -u "$fd" part; then
      line+=$part
      return 0
    fi
    line+=$part
    guest_is_running "$1" || return 1
    ((SECONDS < $2)) || return 1
  done
}

guest_start() {
  local name=$1 seconds
  guest_is_running "$name" && fail "guest $name is running already"
  for seconds in "${boot_seconds[@]}"; do
    if guest_boot "$seconds" "$@"; then return; fi
    guest_is_running "$name" || break
    guest_cut "$name"
  done
  fail "guest $name did not come up"
}

# guest_boot SECONDS NAME [QEMU_OPTION…]
guest_boot() {
  local deadline=$((SECONDS + $1))
  guest_launch "${@:2}"
  guest_is_ready "$2" "$deadline"
}

# guest_launch NAME [QEMU_OPTION…]: does not wait for it.
guest_launch() {
  local name=$1 pipe=$work/$1.pipe in out card=(-nic none)
  shift
  [[ -z $guest_net ]] || card=(-netdev "$guest_net" -device "virtio-net-pci,netdev=net,romfile=")
  rm -f "$pipe.in" "$pipe.out"
  mkfifo "$pipe.in" "$pipe.out"
  # Open for both directions: neither side waits for the other to open it.
  exec {in}<> "$pipe.in" {out}<> "$pipe.out"
  guest_in[$name]=$in guest_out[$name]=$out
  qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -cpu max -m 512 \
    -display none -monitor none -no-reboot \
    "${guest_boots[@]}" \
    -chardev "file,id=console,path=$work/$name.console.log,append=on" -serial chardev:console \
    -chardev "pipe,id=scripts,path=$pipe" -serial chardev:scripts \
    "${card[@]}" \
    "$@" < /dev/null > "$work/$name.qemu.log" 2>&1 &
  guest_pid[$name]=$!
}

# guest_is_ready NAME DEADLINE
guest_is_ready() {
  while guest_line "$1" "$2"; do
    # What firmware has written to this port, without a newline, may stand before it.
    [[ $line == *ready ]] && return
  done
  return 1
}

guest_becomes() {
  guest_must "$1" <<< "echo $2 > /run/next"
  guest_is_ready "$1" $((SECONDS + $3)) || fail "guest $1 does not come up with $2"
}

guest_run() {
  local name=$1 seconds=${2:-120} id=$SRANDOM line
  guest_is_running "$name" || fail "guest $name is not running"
  local deadline=$((SECONDS + seconds))
  printf '%s %s\n' "$id" "$(base64 -w 0)" >&"${guest_in[$name]}"
  while guest_line "$name" "$deadline"; do
    case $line in
      "| "*) printf '%s\n' "${line#| }" ;;
      "$id exit "*) return "${line##* }" ;;
    esac
  done
  if guest_is_running "$name"; then
    printf 'guest %s: no end of the script within %s s\n' "$name" "$seconds" >&2
  else
    printf 'guest %s died during the script\n' "$name" >&2
  fi
  return 124
}

# Like guest_run, and ends the test if the script fails. Also in $(…), where `set -e` sees it.
guest_must() {
  local output
  if ! output=$(guest_run "$@"); then
    printf '%s\n' "$output" >&2
    fail "in guest $1"
  fi
  if [[ -n $output ]]; then printf '%s\n' "$output"; fi
}

# Forgets a guest that has ended.
guest_forget() {
  local in=${guest_in[$1]} out=${guest_out[$1]}
  exec {in}>&- {out}>&-
  unset "guest_pid[$1]" "guest_in[$1]" "guest_out[$1]"
}

guest_cut() {
  kill_process "${guest_pid[$1]}"
  guest_forget "$1"
}

guest_off() {
  local name=$1 command=${2:-'umount -a -r 2> /dev/null; sync; poweroff -f'}
  local pid=${guest_pid[$1]} deadline=$((SECONDS + 300))
  printf '%s %s\n' off "$(base64 -w 0 <<< "$command")" >&"${guest_in[$name]}"
  while is_running "$pid"; do
    ((SECONDS < deadline)) || fail "guest $name does not power off"
    sleep 0.1
  done
  wait "$pid" || fail "qemu of guest $name failed"
  guest_forget "$name"
}
