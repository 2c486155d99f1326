"""What is measured, in groups that share their disks. Each group is a function that gives rows."""

from . import disks, servers
from .measure import (Work, measure, measure_cold, read_all, with_title, write_all, write_scattered)
from .servers import DESTINATIONS

RANDOM_READ = Work("random read, 4k, depth 16")
SEQUENTIAL_READ = Work("sequential read, 256k, depth 8", pattern="sequential", block=256 * 1024, depth=8)
SYNCED = {"write and flush": "write-flush", "write with FUA": "write-fua"}


class Scale:
    """How much is done. `full` is what the README's table is made with."""

    def __init__(self, name, size):
        self.name = name
        self.size = size
        # Sets have connections of their own: where a server's buffers happen to lie matters.
        self.sets = {"full": 10, "quick": 5, "smoke": 1}[name]
        self.rounds = {"full": 12, "quick": 6, "smoke": 2}[name]
        self.slice_ms = {"full": 100, "quick": 60, "smoke": 10}[name]
        self.cold_rounds = {"full": 12, "quick": 3, "smoke": 1}[name]
        blocks = size // 4096
        # A quarter of a 2 GiB disk, as the issue of fragmentation was first seen with.
        self.scattered = min(128000, blocks // 4)
        self.chain = 32 if name != "smoke" else 3
        measured = self.sets * self.rounds
        self.first_rounds = 24 if name != "smoke" else 2
        self.first_writes = min(500, blocks // 64 // self.first_rounds)
        self.more_writes = min(2000, blocks // 2 // measured)
        self.synced_writes = min(100, blocks // 32 // measured)
        # A smoke test must not slow down whatever else the machine does.
        self.drop_everything = name != "smoke"
        self.stations = 64 if name != "smoke" else 4

    def timed(self, work):
        return Work(**{**work.__dict__, "slice_ms": self.slice_ms})


def _stop(servers_):
    for server in servers_:
        server.stop()


def _plydisks(workspace, group, image_path, columns=tuple(DESTINATIONS), prepare=None):
    if not workspace.has_plydisk():
        return []
    return [servers.plydisk(workspace, column, f"{group}-{DESTINATIONS[column]}", image_path, prepare)
            for column in columns]


def _empty_files(workspace, scale, name):
    """What writes are compared with: nbdkit file on an empty file, and once more on another."""
    return [servers.nbdkit_file(workspace, disks.make_empty(workspace.path(f"{file}.raw"), scale.size),
                                column)
            for file, column in ((name, "file"), (f"{name}-again", "file again"))]


def _measure(workspace, scale, group, work, compared, **more):
    return measure(workspace, group, scale.timed(work), compared, scale.sets, scale.rounds, **more)


def cached_reads(workspace, scale, base):
    """A full disk without any write to it."""
    group = "cached"
    compared = [servers.nbdkit_file(workspace, base),
                servers.nbdkit_file(workspace, base, "file again"),
                *_plydisks(workspace, group, base), servers.nbdkit_cow(workspace, base),
                servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "cached.qcow2", base),
                                 files=[base])]
    rows = [_measure(workspace, scale, group, with_title(work, f"cached {work.title}"), compared,
                     disk_bytes=scale.size, check=200)
            for work in (RANDOM_READ, SEQUENTIAL_READ)]
    _stop(compared)
    workspace.remove(*(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def frozen_layers(workspace, scale, base):
    """Through a chain of frozen layers, against a raw file with the same overwrites."""
    group = "frozen"
    blocks = scale.scattered // scale.chain
    flat = disks.copy(workspace, base, "frozen.raw")
    compared = [servers.nbdkit_file(workspace, flat), servers.nbdkit_file(workspace, flat, "file again")]
    write_scattered(workspace, compared[:1], blocks * scale.chain, disks.CHAIN_SEED)
    if workspace.tool("make-chain").exists():
        compared += _plydisks(
            workspace, group, base, ["plydisk volatile"],
            prepare=lambda store: disks.make_chain(workspace, store, scale.chain, blocks))
    chains = {f"qcow2 {count}": disks.make_qcow2_chain(workspace, f"chain{count}", base, count, blocks)
              for count in sorted({8, scale.chain} if scale.name != "smoke" else {scale.chain})}
    readers = [servers.qemu_nbd(workspace, paths[-1], name, files=[base, *paths[:-1]])
               for name, paths in chains.items()]
    # A shorter chain has other content than the rest.
    same = compared + readers[-1:]
    measure(workspace, group, Work("comparing content", slice_ms=1), same, 1, 1, check=2000)
    rows = []
    for work in (RANDOM_READ, SEQUENTIAL_READ):
        titled = with_title(work, f"{scale.chain} frozen layers, {work.title}")
        rows.append(_measure(workspace, scale, group, titled, same + readers[:-1],
                             disk_bytes=scale.size))
    cold = [server for server in compared if server.name != "file again"]
    for work in (RANDOM_READ, SEQUENTIAL_READ):
        titled = with_title(work, f"cold, {scale.chain} frozen layers, {work.title}")
        rows.append(measure_cold(workspace, group, scale.timed(titled), cold, scale.cold_rounds,
                                 scale.drop_everything))
    _stop(compared + readers)
    workspace.remove("frozen.raw", *(f"{group}-{d}" for d in DESTINATIONS.values()),
                     *(path.name for paths in chains.values() for path in paths))
    return rows


def fragmented(workspace, scale, base):
    """After scattered overwrites through the server itself."""
    group = "fragmented"
    flat = disks.copy(workspace, base, "fragmented.raw")
    compared = [servers.nbdkit_file(workspace, flat), servers.nbdkit_file(workspace, flat, "file again"),
                *_plydisks(workspace, group, base), servers.nbdkit_cow(workspace, base),
                servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "fragmented.qcow2", base),
                                 files=[base])]
    write_scattered(workspace, [s for s in compared if s.name != "file again"], scale.scattered, 7)
    rows = [_measure(workspace, scale, group,
                     with_title(work, f"after {scale.scattered} 4k overwrites, {work.title}"),
                     compared, disk_bytes=scale.size, check=2000)
            for work in (RANDOM_READ, SEQUENTIAL_READ)]
    _stop(compared)
    workspace.remove("fragmented.raw", "fragmented.qcow2",
                     *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def first_writes(workspace, scale, base):
    """Blocks that were never written: into an empty sparse file, or an empty layer on the base."""
    group = "first"
    flat = _empty_files(workspace, scale, "first")
    own = _plydisks(workspace, group, base)
    others = [servers.nbdkit_cow(workspace, base),
              servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "first.qcow2", base))]
    count = scale.first_writes
    work = Work("random first write, 4k, depth 16", "write", "once", slice_operations=count)
    # What the others copy is in memory.
    read_all(workspace, others[:1], scale.size)
    rows = [measure(workspace, group, work, flat + own + others, 1, scale.first_rounds)]
    # More than a few thousand blocks touch every cluster of the others once: not a first write.
    work = Work("random first write, 4k, depth 16, long run", "write", "once",
                slice_operations=scale.more_writes)
    rows.append(_measure(workspace, scale, group, work, flat + own,
                         skip=count * scale.first_rounds))
    _stop(flat + own + others)
    workspace.remove("first.raw", "first-again.raw", "first.qcow2",
                     *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def rewrites(workspace, scale, base):
    """Disks that were written from end to end, then rewritten; also one synced block at a time."""
    group = "rewrite"
    flat = _empty_files(workspace, scale, "rewrite")
    own = _plydisks(workspace, group, base)
    cow = servers.nbdkit_cow(workspace, base)
    qcow2 = servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "rewrite.qcow2", base))
    compared = [*flat, *own, cow, qcow2]
    write_all(workspace, compared, scale.size, seed=5)
    rows = []
    for work in (Work("random rewrite, 4k, depth 16", "write", slice_operations=4000),
                 Work("sequential rewrite, 256k, depth 8", "write", "sequential", 256 * 1024, 8,
                      slice_operations=128)):
        rows.append(_measure(workspace, scale, group, work, compared))
    # The cow filter keeps its overlay in a temporary file and syncs nothing: not comparable.
    synced = [server for server in compared if server.name not in ("cow", "plydisk volatile")]
    for title, operation in SYNCED.items():
        work = Work(f"synced rewrite, 4k, {title}", operation, depth=1,
                    slice_operations=scale.synced_writes)
        rows.append(_measure(workspace, scale, group, work, synced))
    _stop(compared)
    workspace.remove("rewrite.raw", "rewrite-again.raw", "rewrite.qcow2",
                     *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def synced_first_writes(workspace, scale, base):
    """One synced block at a time, each the first of its place."""
    group = "synced"
    flat = _empty_files(workspace, scale, "synced")
    own = _plydisks(workspace, group, base, ["plydisk persistent"])
    compared = [*flat, *own,
                servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "synced.qcow2", base))]
    rows = []
    for number, (title, operation) in enumerate(SYNCED.items()):
        work = Work(f"synced first write, 4k, {title}", operation, "once", depth=1,
                    slice_operations=scale.synced_writes)
        rows.append(_measure(workspace, scale, group, work, compared,
                             skip=number * scale.synced_writes * scale.sets * scale.rounds))
    _stop(compared)
    workspace.remove("synced.raw", "synced-again.raw", "synced.qcow2",
                     *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def cold_reads(workspace, scale, base):
    """Nothing of the files in memory, servers started anew before every slice."""
    group = "cold"
    compared = [servers.nbdkit_file(workspace, base), servers.nbdkit_file(workspace, base, "file again"),
                *_plydisks(workspace, group, base, ["plydisk volatile"]),
                servers.qemu_nbd(workspace, disks.make_qcow2(workspace, "cold.qcow2", base),
                                 files=[base])]
    small = Work("sequential read, 4k, depth 16", pattern="sequential")
    rows = [measure_cold(workspace, group,
                         Work(**{**work.__dict__, "title": f"cold {work.title}",
                                 "slice_ms": 5 * scale.slice_ms}),
                         compared, scale.cold_rounds, scale.drop_everything)
            for work in (RANDOM_READ, SEQUENTIAL_READ, small)]
    _stop(compared)
    workspace.remove("cold.qcow2", *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


def many_stations(workspace, scale, base):
    """As many connections as stations; each station reads anywhere and writes in a region of its own."""
    group = "stations"
    count = scale.stations
    flat = disks.copy(workspace, base, "stations.raw")
    compared = [servers.nbdkit_file(workspace, flat), servers.nbdkit_file(workspace, flat, "file again")]
    if workspace.has_plydisk():
        for column, writes in DESTINATIONS.items():
            store = servers.Store(workspace, f"{group}-{writes}", base)
            for number in range(count):
                store.add_station(f"s{number}", writes)
            compared.append(store.serve(column, "s{}"))
    region = scale.size // count
    work = Work(f"{count} stations, 70 % reads, 4k, depth 4", "mixed", depth=4, connections=count,
                own_region=region)
    read_all(workspace, compared[:1], scale.size)
    rows = [_measure(workspace, scale, group, with_title(work, f"{work.title}, fresh"), compared),
            _measure(workspace, scale, group, with_title(work, f"{work.title}, later"), compared)]
    _stop(compared)
    workspace.remove("stations.raw", *(f"{group}-{d}" for d in DESTINATIONS.values()))
    return rows


GROUPS = {
    "cached": cached_reads,
    "frozen": frozen_layers,
    "fragmented": fragmented,
    "first": first_writes,
    "rewrite": rewrites,
    "synced": synced_first_writes,
    "cold": cold_reads,
    "stations": many_stations,
}
