"""A cross-check with fio's nbd engine: another client, runs of seconds."""

import json

from . import disks, servers
from .measure import Row, read_all
from .servers import DESTINATIONS

JOBS = {
    "fio: cached random read, 4k, depth 16": ("randread", "4k", 16),
    "fio: cached sequential read, 256k, depth 8": ("read", "256k", 8),
}


def _run(workspace, server, job, size, seconds, seed):
    rw, block, depth = job
    output = workspace.run(
        "fio", "--name=bench", "--ioengine=nbd", f"--uri={server.uri()}", f"--rw={rw}", f"--bs={block}",
        f"--iodepth={depth}", f"--size={size}", "--time_based", f"--runtime={seconds}",
        f"--randseed={seed}", "--output-format=json")
    # Some versions print notes before the JSON.
    read = json.loads(output[output.index("{"):])["jobs"][0]["read"]
    return [read["total_ios"], read["runtime"] / 1000, 0.0]


def fio_reads(workspace, scale, base):
    compared = [servers.nbdkit_file(workspace, base), servers.nbdkit_file(workspace, base, "file again")]
    if workspace.has_plydisk():
        compared.append(servers.plydisk(workspace, "plydisk volatile", "fio-store", base))
    compared.append(servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "fio.qcow2", base)))
    rows = []
    for title, job in JOBS.items():
        workspace.log(f"  {title}")
        row = Row("fio", title)
        read_all(workspace, compared, scale.size)
        for number in range(scale.cold_rounds):
            order = list(compared)
            workspace.random.shuffle(order)
            for server in order:
                row.add(server.name, [_run(workspace, server, job, scale.size, 1, number + 1)], 0.0)
        rows.append(row)
    for server in compared:
        server.stop()
    workspace.remove("fio.qcow2", "fio-store", *(f"fio-{d}" for d in DESTINATIONS.values()))
    return rows
