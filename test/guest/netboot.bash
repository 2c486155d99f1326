# A boot server and a station of it, for bash scripts to source after guest.bash and server.bash.
#
#   netboot_setup "$0" "$@"            first: all networks are in a namespace that goes with the test; the store
#                                      has the image debian, whose initramfs says what it found, for pc07
#   lab NETBOOT_OPTION…                plydisk netboot --serve br0, in the folder $work/netboot
#   end_lab [SERVERS]                  which has so many, 2 if not said
#   other_dhcp_server                  gives the addresses from now on
#   boots FIRMWARE STATION QEMU_OPTION…
#                                      it boots, to its end, and has read its disk as this station
#   netboot_from_disc FIRMWARE QEMU_OPTION…
#                                      the same from a disc image; there is $usb_stick then, for qemu
# shellcheck shell=bash disable=SC2154,SC2034

mac=52:54:00:12:34:56  # of the station's card

netboot_setup() {
  requires_plydisk
  requires dnsmasq ip unshare nsenter pgrep mkfs.ext4 debugfs sfdisk
  ((EUID == 0)) || skip 'only root can do this'
  [[ -c /dev/net/tun ]] || skip 'there are no tap devices here'
  [[ -e /usr/lib/ipxe/undionly.kpxe ]] || skip 'ipxe is missing: ./bootstrap deps installs it'
  [[ -n ${PLYDISK_OWN_NETWORK:-} ]] || PLYDISK_OWN_NETWORK=yes exec unshare --net "$@"
  guest_setup "$repository/test/guest/inside/netboot-init=init"
  chmod 711 "$work"  # dnsmasq runs as a user of its own
  netboot_image
  netboot_bridge
}

netboot_image() {
  local tree=$work/tree kernel=6.1.0-guest
  mkdir -p "$tree"/{boot/grub,etc,sbin}
  touch "$tree/sbin/init"
  echo 'published once' > "$tree/etc/motd"
  cp "$vmlinuz" "$tree/boot/vmlinuz-$kernel"
  cp "$initrd" "$tree/boot/initrd.img-$kernel"
  cat > "$tree/boot/grub/grub.cfg" << END
menuentry 'Debian' {
  linux /boot/vmlinuz-$kernel root=/dev/sda1 ro $guest_arguments
}
END
  new_store
  plydisk image create debian --tree "$tree" --description 'Room 4'
  plydisk image create other --size 1M
  plydisk station add pc07 --image debian
}

netboot_bridge() {
  ip link set lo up
  ip link add br0 type bridge
  ip link set br0 up
  ip tuntap add tap0 mode tap
  ip link set tap0 up master br0
  ip address add 10.9.0.1/24 dev br0
  ip address add fd00:9::1/64 dev br0 nodad
}

lab() {
  "$PLYDISK_BUILD/client/plydisk" --store "$store" netboot "$work/netboot" --serve br0 "$@" \
    > "$work/netboot.out" 2> "$work/netboot.log" &
  lab=$!
  cleanup_pids+=("$lab")
  wait_until 20 grep -q 'stations can boot' "$work/netboot.log" || fail 'the lab does not serve'
}

end_lab() {
  local status=0 servers pid
  mapfile -t servers < <(pgrep -P "$lab")
  ((${#servers[@]} == ${1:-2})) || fail "these serve: ${servers[*]}"
  kill "$lab"
  wait "$lab" || status=$?
  ((status == 0)) || fail "plydisk netboot --serve ended with status $status"
  for pid in "${servers[@]}"; do if is_running "$pid"; then fail 'it left a server'; fi; done
}

other_dhcp_server() {
  local enter
  unshare --net sleep infinity &
  cleanup_pids+=("$!")
  wait_until 5 has_own_network "$!" || fail 'it has no network of its own'
  enter=(nsenter --net="/proc/$!/ns/net")
  ip link add eth0 type veth peer name eth1 netns "$!"
  ip link set eth0 up master br0
  "${enter[@]}" ip link set eth1 up
  "${enter[@]}" ip address add 10.9.0.2/24 dev eth1
  "${enter[@]}" ip address add fd00:9::2/64 dev eth1 nodad
  "${enter[@]}" dnsmasq --conf-file=/dev/null --keep-in-foreground --port=0 --pid-file= --interface=eth1 \
    --bind-interfaces --dhcp-leasefile="$work/leases" --log-facility="$work/dhcp.log" \
    --dhcp-range=10.9.0.100,10.9.0.200 --dhcp-host="$mac,pc07,10.9.0.7" \
    --enable-ra --dhcp-range=::,constructor:eth1,ra-only &
  cleanup_pids+=("$!")
}

boots() {
  local station=$2 log=$work/$1.console.log seconds
  for seconds in 100 200; do
    rm -f "$log"
    timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -cpu max -m 512 -no-reboot \
      -display none -monitor none -serial "file:$log" \
      -netdev tap,id=net,ifname=tap0,script=no,downscript=no "${@:3}" < /dev/null > "$work/qemu.log" 2>&1 && break
  done
  grep -aq "^booted by $1 as $station: published once" "$log" || fail "it does not boot by $1"
  grep -aqE "root=UUID=[0-9a-f-]{36} ro console=ttyS0 .*BOOTIF=01-${mac//:/-} plydisk=nbd://10.9.0.1/debian plydisk.station=$station" \
    "$log" || fail 'the kernel gets other arguments'
  wait_for_end_of "debian@$station"
}

# The network's DHCP server knows of nothing, and the boot server tells nothing by DHCP. The firmware has its
# driver for the card, but not its PXE.
netboot_from_disc() {
  local firmware=$1
  local card=(-device "virtio-net-pci,netdev=net,mac=$mac,romfile=,bootindex=1")
  requires grub-mkrescue xorriso mformat
  iso=$work/boot.iso
  usb_stick=(-device qemu-xhci -drive "if=none,id=stick,file=$iso,format=raw,readonly=on"
    -device usb-storage,drive=stick,bootindex=0)
  other_dhcp_server
  lab --server 10.9.0.1 --dhcp-proxy 10.8.0.0/16 --timeout 2 --iso "$iso"
  say '- from a CD'
  boots "$firmware" pc07 "${@:2}" "${card[@]}" -device ide-cd,drive=cd,bootindex=0 \
    -drive "if=none,id=cd,media=cdrom,file=$iso"
  say '- from a USB stick, as a station that is not known, with a menu'
  plydisk param set boot-identity mac
  plydisk param set unknown-stations allow
  wait_until 10 grep -q plydisk_mac "$work/netboot/tftp/plydisk.cfg" || fail 'the lab does not follow the store'
  boots "$firmware" "${mac//:/-}" "${@:2}" "${card[@]}" "${usb_stick[@]}"
  grep -aq 'Room 4' "$work/$firmware.console.log" || fail 'there was no menu'
  end_lab
}
