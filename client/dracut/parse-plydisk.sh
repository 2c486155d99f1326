#!/bin/sh
# The kernel's command line names a disk: the network is needed for a server's, whatever else it says.
case $(getarg plydisk=) in
    '') ;;
    disc*) modprobe -a nbd loop isofs squashfs ;;
    *)
        mkdir -p /etc/cmdline.d
        echo 'rd.neednet=1' > /etc/cmdline.d/90-plydisk.conf
        modprobe nbd
        modprobe iscsi_ibft 2> /dev/null
        ;;
esac
