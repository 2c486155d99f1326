"""Measuring: nbd-slices does the work; here are its calls and the ratios."""

import json
import statistics
from dataclasses import dataclass, field, replace

from .workspace import drop_caches, sync_files


@dataclass(frozen=True)
class Work:
    title: str
    operation: str = "read"
    pattern: str = "random"
    block: int = 4096
    depth: int = 16
    connections: int = 1
    slice_ms: int = 200
    slice_operations: int = 0  # instead of slice_ms, where all must get the same requests
    own_region: int = 0


@dataclass
class Row:
    """What was measured: for each server, one [operations, seconds, processor seconds] a round."""

    group: str
    title: str
    slices: dict = field(default_factory=dict)
    cpu_seconds: dict = field(default_factory=dict)  # of the server, over the whole run
    peer: str = "file"  # what the others are compared with

    def add(self, server, slices, cpu_seconds):
        self.slices.setdefault(server, []).extend(slices)
        self.cpu_seconds[server] = self.cpu_seconds.get(server, 0) + cpu_seconds

    def rates(self, server):
        return [operations / seconds for operations, seconds, _ in self.slices[server]]

    def rate(self, server):
        return statistics.median(self.rates(server))

    def cpu_us(self, server):
        """Processor time of the server for one operation, microseconds."""
        operations = sum(s[0] for s in self.slices[server])
        return 1e6 * self.cpu_seconds[server] / operations if operations else 0.0

    def ratio(self, server, peer):
        """Quartiles of the ratios of each round: (lower, median, upper)."""
        ratios = [a / b for a, b in zip(self.rates(server), self.rates(peer))]
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        return tuple(statistics.quantiles(ratios, n=4, method="inclusive"))

    def as_json(self):
        return {"group": self.group, "title": self.title, "slices": self.slices,
                "cpu_seconds": self.cpu_seconds, "peer": self.peer}


def _command(workspace, work, servers, rounds, seed, check, pins, skip):
    command = [
        workspace.tool("nbd-slices"), "--operation", work.operation, "--pattern", work.pattern,
        "--block", work.block, "--depth", work.depth, "--connections", work.connections,
        "--rounds", rounds, "--seed", seed, "--check", check, "--skip", skip,
        "--own-region", work.own_region]
    if work.slice_operations:
        command += ["--slice-operations", work.slice_operations]
    else:
        command += ["--slice-ms", work.slice_ms]
    for path in pins:
        command += ["--pin", path]
    return command + [f"{s.name}={s.uri()},{s.pid}" for s in servers]


def _run(workspace, row, work, servers, rounds, seed=1, check=0, pins=(), skip=0):
    output = workspace.run(*_command(workspace, work, servers, rounds, seed, check, pins, skip))
    if row is not None:
        for server in json.loads(output)["servers"]:
            row.add(server["name"], server["slices"], server["cpu_seconds"])


def _sync(servers):
    """Writes the servers' files back; gives their names."""
    files = sorted({str(path) for server in servers for path in server.files()})
    sync_files(files)
    return files


def write_all(workspace, servers, disk_bytes, seed=1):
    """Writes the whole disk of each server from end to end."""
    work = Work("fill", "write", "sequential", 256 * 1024, 8,
                slice_operations=max(1, disk_bytes // (256 * 1024)))
    for server in servers:
        _run(workspace, None, work, [server], 1, seed)
    _sync(servers)


def write_scattered(workspace, servers, blocks, seed, skip=0):
    """Overwrites so many 4 KiB blocks in a random order, the same for each server."""
    work = Work("scatter", "write", "once", 4096, 16, slice_operations=blocks)
    for server in servers:
        _run(workspace, None, work, [server], 1, seed, skip=skip)
    _sync(servers)


def read_all(workspace, servers, disk_bytes):
    """Fills the page cache, and gives each process the same past: see README.md on buffers."""
    work = Work("warm", "read", "sequential", 256 * 1024, 8,
                slice_operations=max(1, disk_bytes // (256 * 1024)))
    for server in servers:
        _run(workspace, None, work, [server], 1)


def measure(workspace, group, work, servers, sets, rounds, disk_bytes=0, check=0, skip=0,
            same_requests=False):
    """Measures in `sets` runs, with new connections each, of `rounds` rounds.

    disk_bytes: read the whole disk first, which warms the cache. skip: for the pattern
    `once`, blocks that were used up before.
    """
    workspace.log(f"  {work.title}")
    row = Row(group, work.title)
    if disk_bytes:
        read_all(workspace, servers, disk_bytes)
    for number in range(sets):
        pins = _sync(servers)
        once = work.pattern == "once"
        _run(workspace, row, work, servers, rounds, seed=2 if once else 100 + number,
             check=check if number == 0 else 0, pins=pins,
             skip=skip + (number * rounds * work.slice_operations if once else 0))
    return row


def measure_cold(workspace, group, work, servers, rounds, drop_everything=True):
    """Every slice begins with nothing cached and a new process: pages that a process maps can't be
    dropped. Connecting, and what the server does then, is not in the slice."""
    workspace.log(f"  {work.title}")
    row = Row(group, work.title)
    for number in range(rounds):
        order = list(servers)
        workspace.random.shuffle(order)
        for position, server in enumerate(order):
            server.stop()
            drop_caches(server.files(), drop_everything)
            server.start()
            # Seeds differ, since the host may cache what the first one read.
            _run(workspace, row, work, [server], 1, seed=1000 + number * 100 + position)
    return row


def with_title(work, title):
    return replace(work, title=title)
