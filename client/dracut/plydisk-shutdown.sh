#!/bin/sh
# At the very end, when the root file system is unmounted: the disk goes, too.
for plydisk_root in /oldsys/run/initramfs/disk /run/initramfs/disk; do
    [ ! -e "$plydisk_root/run/plydisk/nbd0/disk.json" ] || break
done
if [ -e "$plydisk_root/run/plydisk/nbd0/disk.json" ]; then
    timeout 90 chroot "$plydisk_root" /usr/bin/plydisk detach /dev/nbd0 ||
        chroot "$plydisk_root" /usr/bin/plydisk detach --force /dev/nbd0
    # What it lay on, if that is a disc.
    umount "$plydisk_root/packed" "$plydisk_root/medium" 2> /dev/null
fi
