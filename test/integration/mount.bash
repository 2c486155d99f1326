# What the tests of the administration mount share; source it after functions.bash.
#
#   mount_store [OPTION,…]     mounts $store on $mnt; it is unmounted at the end
#   unmount_store
#   value FILE                 what is in it
#   set_value TEXT FILE        as `echo TEXT > FILE` does
#   refuses ERRNO SENTENCE COMMAND…
#                              it fails with this errno's text, and `last-error` has the sentence
#
# shellcheck shell=bash

plydiskfs=${PLYDISK_MOUNT:-$repository/build/admin-fs/plydiskfs}
mnt=$work/mnt
mount_pid=

requires fusermount3
[[ -w /dev/fuse ]] || skip 'there is no FUSE here'

# In the foreground, so that the test knows its process, and its log is kept.
mount_store() {
  mkdir -p "$mnt"
  "$plydiskfs" -f ${1:+-o "$1"} "$store" "$mnt" < /dev/null 2>> "$work/plydiskfs.log" &
  mount_pid=$!
  wait_until 20 mountpoint -q "$mnt" || fail 'plydiskfs does not mount'
}

unmount_store() {
  umount "$mnt" || fusermount3 -u "$mnt"
  wait "$mount_pid" || fail 'plydiskfs did not end well'
  mount_pid=
}

abandon_mount() {
  mountpoint -q "$mnt" && umount -l "$mnt"
  [[ -z $mount_pid ]] || kill "$mount_pid" 2> /dev/null
}
cleanup_fn abandon_mount

value() { cat "$mnt/$1"; }
set_value() { echo "$1" > "$mnt/$2"; }

refuses() {
  local error=$1 sentence=$2 told status=0
  shift 2
  told=$("$@" 2>&1) || status=$?
  ((status != 0)) || fail "not refused: $*"
  [[ $told == *"$error"* ]] || fail "$* says: $told; instead of: $error"
  told=$(value last-error)
  [[ $told == *"$sentence"* ]] || fail "last-error after $*: $told; instead of: $sentence"
}
