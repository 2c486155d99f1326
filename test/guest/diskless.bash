# Stations without a disk, for bash scripts to source after guest.bash and server.bash: a Debian system
# on an image, which is captured with --adapt and boots with the kernel and initramfs that lie on it.
#
#   make_diskless_image              once: the image "debian" in the store, its kernel and initramfs. Or, by
#                                    two steps, make_debian_disk FILE and capture_debian FILE, which leaves
#                                    the root file system of the image in $work/root
#   boot_station NAME [WORD…]        boots it to its login, with these words for the kernel besides those that
#                                    are on the image; the server has to find out who it is if $are_named is no
#   station_off NAME [COMMAND]       systemctl poweroff, or another one; the machine must then go off by itself
#
#   make_disc FILE                   of such an image, for machines that have no server either; and for all
#                                    from here on no network card
#   boot_disc NAME [QEMU_OPTION…]    boots one, to its login
#
# Scripts run in the booted system by guest_run and guest_must.
# shellcheck shell=bash disable=SC2154

root_uuid=11111111-2222-3333-4444-555555555555
swap_uuid=22222222-2222-3333-4444-555555555555
debian=netboot  # the system, for fetch-root
are_named=yes

# make_debian_tree FOLDER: what an installer leaves for the machine's own disk, and besides what takes scripts.
make_debian_tree() {
  requires mkfs.ext4 debugfs sfdisk debootstrap losetup unshare
  ((EUID == 0)) || skip 'only root can do this'
  local tree=$1 kernel
  "$repository/test/guest/fetch-root" "$PLYDISK_BUILD/guest" "$debian" || fail 'no Debian system'
  mkdir "$tree"
  tar --extract --xattrs --acls --numeric-owner --file "$PLYDISK_BUILD/guest/$debian.tar" --directory "$tree"
  kernel=$(basename "$tree"/boot/vmlinuz-*)
  mkdir -p "$tree/boot/grub" "$tree/etc/systemd/system/multi-user.target.wants"
  cat > "$tree/boot/grub/grub.cfg" << END
menuentry 'Debian' {
	linux	/boot/$kernel root=UUID=$root_uuid ro quiet $guest_arguments
	initrd	/boot/initrd.img-${kernel#vmlinuz-}
}
menuentry 'Debian (recovery)' {
	linux	/boot/$kernel root=/dev/sda1 ro single
}
END
  cat > "$tree/etc/fstab" << 'END'
# the disk that it was installed on
/dev/sda1 / ext4 errors=remount-ro 0 1
/dev/sda2 none swap sw 0 0
/dev/sdb1 /data ext4 defaults 0 2
END
  cp "$repository/test/guest/inside/functions" "$repository/test/guest/inside/loop" "$tree/etc/"
  # Nothing of these is wanted here, and they take seconds.
  ln -s /dev/null "$tree/etc/systemd/system/apt-daily.timer"
  ln -s /dev/null "$tree/etc/systemd/system/e2scrub_reap.service"
  cat > "$tree/etc/systemd/system/scripts.service" << 'END'
[Unit]
After=getty.target
[Service]
ExecStart=/bin/sh /etc/loop
Environment=HOME=/root
END
  ln -s ../scripts.service "$tree/etc/systemd/system/multi-user.target.wants/"
}

# make_debian_disk FILE: with its root on the first partition.
make_debian_disk() {
  local disk=$1 tree=$work/tree
  make_debian_tree "$tree"
  truncate -s 1300M "$disk"
  printf 'label: dos\nstart=2048, size=1200M, bootable\nsize=64M, type=82\n' | sfdisk --quiet "$disk"
  mkfs.ext4 -q -U "$root_uuid" -d "$tree" -E offset=$((1 << 20)) "$disk" 1200M 2> /dev/null
  truncate -s 64M "$work/swap"
  mkswap --quiet --uuid "$swap_uuid" "$work/swap" 2> /dev/null
  dd if="$work/swap" of="$disk" bs=1M seek=1201 conv=notrunc,sparse status=none
  rm -rf "$tree" "$work/swap"
}

capture_debian() {
  plydisk capture "$1" --image debian --adapt --server "10.0.2.2:$server_port" > /dev/null
  local copy=$work/root vmlinuz=$work/debian.vmlinuz initrd=$work/debian.initrd kernel
  dd if="$store/images/debian/disk" of="$copy" bs=1M skip=1 count=1200 conv=sparse status=none
  kernel=$(debugfs -R 'ls -p /boot' "$copy" 2> /dev/null | grep -o 'vmlinuz-[^/]*')
  debugfs -R "dump /boot/$kernel $vmlinuz" "$copy" 2> /dev/null
  debugfs -R "dump /boot/initrd.img-${kernel#vmlinuz-} $initrd" "$copy" 2> /dev/null
  [[ -s $vmlinuz && -s $initrd ]] || fail 'no kernel on the copy'
  adapted_arguments=$(debugfs -R 'cat /boot/grub/grub.cfg' "$copy" 2> /dev/null |
    sed -nE "s#^\s*linux\s+/boot/$kernel (.*) quiet (.*)#\1 \2#p")
  guest_boots=(-kernel "$vmlinuz" -initrd "$initrd")
  boot_seconds=(150 300)
}

make_diskless_image() {
  make_debian_disk "$work/disk.img"
  capture_debian "$work/disk.img"
  rm "$work/disk.img" "$work/root"
}

station_arguments() {
  local words=("${@:2}")
  [[ $are_named == no ]] || words+=("plydisk.station=$1")
  echo "$adapted_arguments ${words[*]}"
}

# station_launch NAME [WORD…]: as boot_station, but does not wait for it.
station_launch() {
  : > "$work/$1.console.log"
  guest_launch "$1" -m 1024 -append "$(station_arguments "$@")"
}

boot_station() {
  : > "$work/$1.console.log"
  guest_start "$1" -m 1024 -append "$(station_arguments "$@")"
  wait_until 60 grep -qa 'login:' "$work/$1.console.log" || fail "$1 has no login"
}

make_disc() {
  requires mkfs.ext4 sfdisk debootstrap losetup unshare mksquashfs grub-mkrescue xorriso mformat
  ((EUID == 0)) || skip 'only root can do this'
  [[ -e $work/disk.img ]] || make_debian_disk "$work/disk.img"
  plydisk capture "$work/disk.img" --image debian --adapt --server 10.0.2.2 > /dev/null
  rm "$work/disk.img"
  plydisk image disc debian "$1"
  rm -r "$store"
  guest_net='' guest_boots=() boot_seconds=(300 600)
}

boot_disc() {
  : > "$work/$1.console.log"
  guest_start "$1" -m 1024 "${@:2}"
  wait_until 120 grep -qa 'login:' "$work/$1.console.log" || fail "$1 has no login"
}

station_off() {
  guest_off "$1" "${2:-systemctl poweroff}"
  local log=$work/$1.console.log
  if grep -aiE 'I/O error|Kernel panic|still busy|still in use|stays attached|lost .*write|hung task|Failed unmounting' "$log"
  then fail "$1 does not end without errors"; fi
}
