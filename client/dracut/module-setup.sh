#!/bin/bash
# For dracut: what boots a system from an image of plydisk; see plydisk(1), BOOTING. Not included by itself:
#   dracut --no-hostonly --add plydisk

# called by dracut
check() {
    [[ -d /usr/lib/plydisk/runtime ]] || require_binaries plydisk nbdkit || return 1
    return 255
}

# called by dracut
depends() {
    echo network rootfs-block shutdown
}

# called by dracut
installkernel() {
    instmods nbd iscsi_ibft
    # For a disc, in an optical drive or on a stick.
    instmods loop isofs squashfs sr_mod sd_mod ahci ata_piix usb_storage uas
}

# called by dracut
install() {
    local folder
    # One that was made elsewhere, as for an image that was captured, before what is installed here.
    if [[ -d /usr/lib/plydisk/runtime ]]; then
        mkdir -p "$initdir/plydisk"
        cp -a /usr/lib/plydisk/runtime/. "$initdir/plydisk/"
    else
        for folder in /usr/local/share/plydisk /usr/share/plydisk; do
            [[ ! -x $folder/initramfs/runtime-tree ]] || "$folder/initramfs/runtime-tree" "$initdir/plydisk" || return
            [[ ! -e $initdir/plydisk/shutdown ]] || break
        done
    fi
    inst_multiple chroot mount umount mkdir cat ln grep timeout modprobe
    inst_hook cmdline 90 "$moddir/parse-plydisk.sh"
    inst_hook initqueue/settled 90 "$moddir/plydisk-boot.sh"
    inst_hook shutdown 30 "$moddir/plydisk-shutdown.sh"
    dracut_need_initqueue
}
