# A station that boots from its disk by its firmware, over iSCSI, for bash scripts to source after server.bash.
#
#   iscsi_setup "$0" "$@"          all ports are in a namespace that goes with the test; a store with the image
#                                  "debian" and the station pc07, its server, the mount at $mnt, tgtd, and the
#                                  scripts for iPXE of plydisk netboot
#   power_on NAME [QEMU_OPTION…]   boots a guest by guest_boots, and expects that firmware and system have
#                                  one session
#   attach NAME                    in the guest, by what the iBFT says: mounts the root partition on /mnt
#
# GRUB adds an x to a variable that it keeps in a file of the disk, each time that it boots.
# shellcheck shell=bash disable=SC2154,SC2034

mnt=
iscsi_setup() {
  boot_seconds=(150 300)  # firmware takes its time, and a second boot is counted
  requires_plydisk
  requires tgtd tgt-admin ip unshare fusermount3 grub-mkimage grub-editenv mkfs.vfat mcopy debugfs
  ((EUID == 0)) || skip 'only root can run tgtd'
  [[ -w /dev/fuse ]] || skip 'there is no FUSE here'
  [[ -e /usr/lib/ipxe/ipxe.efi ]] || skip 'ipxe is missing: ./bootstrap deps installs it'
  # iSCSI has a port of its own, which this machine may use.
  [[ -n ${PLYDISK_OWN_NETWORK:-} ]] || PLYDISK_OWN_NETWORK=yes exec unshare --net "$@"
  guest_setup
  ip link set lo up
  local tree=$work/tree
  mkdir -p "$tree/boot/grub" "$tree/sbin"
  cp "$vmlinuz" "$initrd" "$tree/boot/"
  cp "$(command -v busybox)" "$tree/sbin/init"
  grub-editenv "$tree/boot/grub/grubenv" create
  cat > "$tree/boot/grub/grub.cfg" << END
load_env
set boots=\${boots}x
save_env boots
linux /boot/vmlinuz $guest_arguments
initrd /boot/initrd
boot
END
  new_store
  # Until the guest's kernel is up.
  plydisk param set session-grace 60
  plydisk image create debian --tree "$tree" --bootable
  plydisk station add pc07 --image debian --allow 127.0.0.1
  serve_store
  mnt=$work/mnt
  mkdir "$mnt"
  "$PLYDISK_BUILD/admin-fs/plydiskfs" -f "$store" "$mnt" < /dev/null > "$work/plydiskfs.log" 2>&1 &
  cleanup_pids+=($!)
  wait_until 20 mountpoint -q "$mnt" || fail 'plydiskfs does not mount'
  serve_iscsi
}

serve_iscsi() {
  local control=$((10000 + SRANDOM % 10000))
  tgtd --foreground --control-port "$control" --iscsi portal=127.0.0.1 < /dev/null > "$work/tgtd.log" 2>&1 &
  # Before the mount, which it has files of.
  cleanup_pids=($! "${cleanup_pids[@]}")
  wait_until 20 eval "tgtadm -C $control --op show --mode sys > /dev/null 2>&1" || fail 'tgtd does not start'
  plydisk netboot "$work/netboot" --server 10.0.2.2 --dhcp-range 10.0.2.1,10.0.2.9 --mount "$mnt"
  tgt-admin --control-port "$control" --conf "$work/netboot/tgt.conf" --execute
  tgtadm -C "$control" --op show --mode target > "$work/targets"
  grep -qF "$mnt/stations/pc07/disk" "$work/targets" || fail "tgt does not serve the disk: $(< "$work/targets")"
  [[ -z $(session_field debian@pc07 id) ]] || fail 'a target that nobody uses has a session'
  guest_net=user,id=net,hostname=pc07,tftp=$work/netboot/tftp,bootfile=plydisk.ipxe
}

power_on() {
  guest_start "$@"
  session=$(session_field debian@pc07 id)
  [[ $(session_field debian@pc07 peer) == firmware ]] || fail 'the system was not booted by the firmware'
}

attach() {
  guest_must "$1" << END
target=\$(cat /sys/firmware/ibft/target0/target-name)
name=\${target#iqn.2026-11.io.plydisk:}
[ "\$name" = debian:pc07 ]
nbd-client -N "\${name%:*}@\${name#*:}" "\$(cat /sys/firmware/ibft/target0/ip-addr)" $server_port /dev/nbd0
blockdev --rereadpt /dev/nbd0
mount "\$(ls /dev/nbd0p* | tail -n 1)" /mnt
END
  [[ $(session_field debian@pc07 id) == "$session" ]] || fail 'the system has another session than its firmware'
  ! python3 -c 'import os, sys; os.pread(os.open(sys.argv[1], os.O_RDWR), 1, 0)' "$mnt/stations/pc07/disk" 2> /dev/null ||
    fail 'another firmware is let in while the system runs'
}

boots_counted() { guest_must "$1" <<< "sed -n 's/^boots=//p' /mnt/boot/grub/grubenv"; }
