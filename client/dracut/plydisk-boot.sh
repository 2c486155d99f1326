#!/bin/sh
# Whenever udev has nothing to do: attaches the disk that the kernel's command line names; a server's once
# there is a network, of whichever of dracut's network modules.
plydisk_root=/run/initramfs/disk

plydisk_has_place() {
    case $(getarg plydisk=) in
        '') return 1 ;;
        disc*) return 0 ;;
    esac
    # A route to somewhere, by IPv4 or IPv6; the loop's own are none.
    grep -qvE '^(Iface|lo)' /proc/net/route && return
    grep -qvE ' lo$|^(fe80|ff00)' /proc/net/ipv6_route
}

# What keeps the disk alive has a root of its own, which outlives this one: made in the tree, and moved.
plydisk_prepare() {
    [ ! -e "$plydisk_root/shutdown" ] || return 0
    mkdir -p /plydisk/root "$plydisk_root"
    chroot /plydisk /usr/bin/plydisk boot --make-root /root || return
    # systemd shares all mounts with the namespaces of its units, and such mounts can't be moved.
    mount --make-private /
    mount --move /plydisk/root "$plydisk_root" || return
    mount --make-shared /
    ln -s initramfs/disk/run/plydisk /run/plydisk
}

plydisk_boot() {
    plydisk_prepare || return
    for file in /tmp/dhclient.*.dhcpopts /run/systemd/netif/leases/*; do
        [ ! -e "$file" ] || { mkdir -p "$plydisk_root${file%/*}" && cat "$file" > "$plydisk_root$file"; }
    done
    [ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf > "$plydisk_root/etc/resolv.conf"
    chroot "$plydisk_root" /usr/bin/plydisk boot > /dev/console 2>&1
}

if [ ! -e /run/plydisk/nbd0/disk.json ] && plydisk_has_place; then
    if plydisk_boot; then
        # The root file system is unmounted by the initramfs, before the disk goes.
        need_shutdown
    else
        emergency_shell -n plydisk 'plydisk: there is no disk to boot from. Type "exit" to try again.'
    fi
fi
