"""Disks with the same content in the forms that the servers want."""

import shutil

from . import servers
from .measure import write_all, write_scattered

CHAIN_SEED = 11


def make_base(workspace, size):
    """base.raw: full of data, no holes. Nobody writes to it afterwards."""
    path = workspace.path("base.raw")
    make_empty(path, size)
    writer = servers.nbdkit_file(workspace, path)
    write_all(workspace, [writer], size)
    writer.stop()
    return path


def make_empty(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def copy(workspace, path, name):
    target = workspace.path(name)
    shutil.copyfile(path, target)
    return target


def make_qcow2(workspace, name, backing, backing_format="raw"):
    path = workspace.path(name)
    workspace.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", backing_format, path)
    return path


def make_qcow2_chain(workspace, prefix, base, layers, blocks):
    """So many qcow2 files on `base`, each with the next `blocks` of the scattered overwrites."""
    paths = []
    below, below_format = base, "raw"
    for number in range(layers):
        below = make_qcow2(workspace, f"{prefix}-{number}.qcow2", below, below_format)
        below_format = "qcow2"
        paths.append(below)
        writer = servers.qemu_nbd(workspace, below)
        write_scattered(workspace, [writer], blocks, CHAIN_SEED, skip=number * blocks)
        writer.stop()
    return paths


def make_chain(workspace, store, layers, blocks):
    """The same in frozen layers of a plydisk store: the published version is what they make."""
    workspace.run(workspace.tool("make-chain"), "--store", store.folder, "--image", store.image,
                  "--layers", layers, "--blocks", blocks, "--seed", CHAIN_SEED, "--write")
