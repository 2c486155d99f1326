# For the tests of capture, after functions.bash: disks of real file systems, and what a copy must be.
#
#   files_to_capture             fills $work/files; the file REMOVED in it is removed again below
#   make_ext4, make_ntfs, make_fat, make_xfs, make_btrfs FILE SIZE    with those files
#   new_disk DISK SIZE           other bytes everywhere, but for the first MiB; sfdisk's lines on stdin; SIZE is
#                                a multiple of 8M
#   fill_partition DISK N FILE   with the contents of that file
#   take_partition DISK N FILE   the other way
#   same_gaps DISK COPY          whether all that is in no partition is the same
#   is_same TYPE FILE            the file system is sound, and has the files; REMOVED is nowhere in it
#   image_disk NAME              the file of a captured image
#   serve_file SOCKET FILE NBDKIT_ARGUMENT…    as an export, which may be written
# shellcheck shell=bash
# shellcheck disable=SC2154 # functions.bash sets it

requires sfdisk mkfs.ext4 debugfs e2fsck

files_to_capture() {
  local i
  mkdir -p "$work/files/folder"
  for i in 1 2 3; do head -c 2M /dev/urandom > "$work/files/file$i"; done
  head -c 300k /dev/urandom > "$work/files/folder/small"
  removed_text 5M > "$work/files/REMOVED"
}

# removed_text SIZE: what must not be in a copy.
removed_text() {
  awk -v bytes="$(numfmt --from=iec "$1")" 'BEGIN { for (; bytes > 0; bytes -= 16) printf "what was removed" }'
}

make_ext4() {
  truncate -s "$2" "$1"
  mkfs.ext4 -q -F -d "$work/files" "$1"
  debugfs -w -R 'rm /REMOVED' "$1" 2> /dev/null
}

make_ntfs() {
  requires mkfs.ntfs ntfs-3g ntfsfix ntfscat partclone.ntfs
  truncate -s "$2" "$1"
  mkfs.ntfs -q -F "$1" > /dev/null 2>&1
  mkdir -p "$work/mounted"
  ntfs-3g "$1" "$work/mounted"
  copy_and_remove
  umount "$work/mounted"
}

make_fat() {
  requires mkfs.vfat fsck.vfat mcopy mdel partclone.vfat
  truncate -s "$2" "$1"
  mkfs.vfat -F 32 "$1" > /dev/null
  mcopy -s -i "$1" "$work"/files/* ::
  mdel -i "$1" ::REMOVED
}

make_xfs() {
  requires mkfs.xfs xfs_repair xfs_logprint partclone.xfs
  truncate -s "$2" "$1"
  mkfs.xfs -q --unsupported "$1"
  on_mounted "$1" rw copy_and_remove
}

make_btrfs() {
  requires mkfs.btrfs btrfs partclone.btrfs
  truncate -s "$2" "$1"
  mkfs.btrfs -q "$1" > "$work/mkfs.log" 2>&1
  on_mounted "$1" rw copy_and_remove
  # A busy kernel may leave it to the next mount to free what was removed.
  on_mounted "$1" rw sync -f "$work/mounted"
}

copy_and_remove() {
  cp -r "$work/files/." "$work/mounted"
  sync -f "$work/mounted"
  rm "$work/mounted/REMOVED"
}

# on_mounted FILE OPTIONS COMMAND…
on_mounted() {
  local file=$1 options=$2
  shift 2
  mkdir -p "$work/mounted"
  mount -o "loop,$options" "$file" "$work/mounted"
  "$@"
  umount "$work/mounted"
}

new_disk() {
  local bytes
  bytes=$(numfmt --from=iec "$2")
  head -c 8M /dev/urandom > "$work/noise"
  while ((bytes > 0)); do
    cat "$work/noise"
    bytes=$((bytes - (8 << 20)))
  done > "$1"
  dd if=/dev/zero of="$1" bs=1M count=1 conv=notrunc status=none
  sfdisk --quiet --no-reread --no-tell-kernel "$1"
}

# Its first byte and its length, of partition N of DISK; or of all, a line each. Containers of logical
# partitions are none.
partitions() {
  sfdisk --dump "$1" |
    sed -nE "s/^[^ ]*[^0-9](${2:-[0-9]+}) : start= *([0-9]+), size= *([0-9]+), type=([^5]|.[^,]).*/\2 \3/p" |
    awk '{ print $1 * 512, $2 * 512 }'
}

fill_partition() {
  local begin length
  read -r begin length < <(partitions "$1" "$2")
  (($(stat -c %s "$3") == length)) || fail "$3 does not fit partition $2"
  dd if="$3" of="$1" bs=1M seek="$begin" oflag=seek_bytes conv=notrunc status=none
}

take_partition() {
  local begin length
  read -r begin length < <(partitions "$1" "$2")
  dd if="$1" of="$3" bs=1M skip="$begin" count="$length" iflag=skip_bytes,count_bytes conv=sparse status=none
}

same_gaps() {
  local disk
  for disk; do
    cp --sparse=always "$disk" "$disk.gaps"
    # shellcheck disable=SC2046 # two words
    partitions "$1" | while read -r begin length; do
      fallocate --punch-hole --offset "$begin" --length "$length" "$disk.gaps"
    done
  done
  cmp "$1.gaps" "$2.gaps"
  rm "$1.gaps" "$2.gaps"
}

is_same() {
  case $1 in
    ext4) e2fsck -fn "$2" > "$work/fsck.log" 2>&1 ;;
    vfat) fsck.vfat -n "$2" > "$work/fsck.log" 2>&1 ;;
    ntfs) ntfsfix --no-action "$2" > "$work/fsck.log" 2>&1 ;;
    xfs) xfs_repair -n "$2" > "$work/fsck.log" 2>&1 ;;
    btrfs) btrfs check --check-data-csum "$2" > "$work/fsck.log" 2>&1 ;;
  esac || fail "a damaged $1 file system"
  case $1 in
    vfat) same_files_of_fat "$2" ;;
    ntfs)
      ntfs-3g -o ro "$2" "$work/mounted"
      same_files
      umount "$work/mounted"
      ;;
    *) on_mounted "$2" ro same_files ;;
  esac
  ! grep -qaF 'what was removed' "$2" ||
    fail "free blocks of $1 were copied: $(grep -obaF 'what was removed' "$2" | sed -n '1p;$p' | tr '\n' ' ')"
}

same_files() { diff -r --exclude REMOVED --exclude lost+found "$work/files" "$work/mounted"; }

same_files_of_fat() {
  rm -rf "$work/from-fat"
  mkdir "$work/from-fat"
  mcopy -s -i "$1" ::/* "$work/from-fat"
  diff -r --exclude REMOVED "$work/files" "$work/from-fat"
}

image_disk() { printf '%s' "$store/images/$1/disk"; }

serve_file() {
  nbdkit --foreground --exit-with-parent --unix "$1" "${@:3}" file "$2" 2> /dev/null &
  cleanup_fn kill $!
  wait_until 10 test -S "$1"
}
