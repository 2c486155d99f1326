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

# What keeps the disk alive runs in the tree, below /run, which the system takes over. There it lies on the
# initramfs's own file system still, of which all is deleted then but what lies below a mount: so one hides the
# tree here.
plydisk_prepare() {
    [ ! -e "$plydisk_root/run/plydisk" ] || return 0
    mkdir -p "$plydisk_root"
    # Private, since systemd shares all mounts: else what hides the one would hide the other.
    [ -e "$plydisk_root/shutdown" ] || mount --bind --make-private /plydisk "$plydisk_root" || return
    [ ! -e /plydisk/shutdown ] || mount -t tmpfs -o mode=0700 plydisk /plydisk || return
    mount -t proc -o nosuid,nodev,noexec proc "$plydisk_root/proc" || return
    mount -t sysfs -o nosuid,nodev,noexec sysfs "$plydisk_root/sys" || return
    mount -t devtmpfs -o nosuid,mode=0755 devtmpfs "$plydisk_root/dev" || return
    mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$plydisk_root/run" || return
    mkdir "$plydisk_root/run/plydisk"
    ln -s initramfs/disk/run/plydisk /run/plydisk
}

plydisk_boot() {
    plydisk_prepare || return
    for file in /tmp/dhclient.*.dhcpopts /run/systemd/netif/leases/*; do
        [ ! -e "$file" ] || { mkdir -p "$plydisk_root${file%/*}" && cat "$file" > "$plydisk_root$file"; }
    done
    [ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf > "$plydisk_root/etc/resolv.conf"
    # By a name that begins with "@": systemd does not end what the command leaves running.
    chroot "$plydisk_root" @plydisk boot > /dev/console 2>&1
}

if [ ! -e /run/plydisk/nbd0/disk.json ] && plydisk_has_place; then
    if plydisk_boot; then
        # The root file system is unmounted by the initramfs, before the disk goes.
        need_shutdown
    else
        emergency_shell -n plydisk 'plydisk: there is no disk to boot from. Type "exit" to try again.'
    fi
fi
