# Guests with `plydisk attach`, for bash scripts to source after guest.bash and server.bash.
#
#   attach_setup [FILE[=TARGET]…]    instead of guest_setup
#   in_guest DEVICE [SECONDS] <<< 'script'   guest_must in pc1, with inside/attached at hand, $port
#                                    the server's and $device as said
#   prepared_image NAME SIZE_MIB     an image that disk-load can work on
# shellcheck shell=bash disable=SC2154

disk_load=$PLYDISK_BUILD/test/guest/disk-load

attach_setup() {
  local files
  requires_plydisk
  [[ -x $disk_load ]] || skip "no test program at $disk_load: ninja -C $PLYDISK_BUILD makes it"
  mapfile -t files < <(nbdkit_files)
  guest_setup "$PLYDISK_BUILD/client/plydisk" "$plugin=plugin/${plugin##*/}" "$disk_load" \
    "$repository/test/guest/inside/attached=etc/attached" "${files[@]}" "$@"
}

in_guest() {
  local device=$1 seconds=${2:-120}
  { printf 'port=%s\ndevice=%s\n. /etc/attached\n' "$server_port" "$device"; cat; } |
    guest_must pc1 "$seconds"
}

prepared_image() {
  "$disk_load" prepare "$work/prepared" $(($2 << 20))
  plydisk image create "$1" --from "$work/prepared" > /dev/null
  rm "$work/prepared"
}
