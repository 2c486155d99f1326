"""Opening sessions: on a large image with many frozen layers; and what an idle session costs."""

import re
import subprocess
from pathlib import Path

from . import disks, servers
from .workspace import BenchError


class OpenConnections:
    """Connections held by nbd-open; `milliseconds` is what each took."""

    def __init__(self, workspace, uris):
        self._process = subprocess.Popen(
            [workspace.tool("nbd-open"), *uris], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        self.milliseconds = []
        for _ in uris:
            line = self._process.stdout.readline()
            if not line:
                raise BenchError("nbd-open could not connect")
            self.milliseconds.append(float(line))

    def close(self):
        self._process.communicate("")


def memory_kib(pid):
    """Resident memory of a process: (anonymous, all), KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    value = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
    return value["Anonymous"], value["Rss"]


def _measure(workspace, server, uris):
    """Opens the first, then the rest; times, and memory before, after one and after all."""
    memory = [memory_kib(server.pid)]
    first = OpenConnections(workspace, uris[:1])
    memory.append(memory_kib(server.pid))
    rest = OpenConnections(workspace, uris[1:])
    memory.append(memory_kib(server.pid))
    rest.close()
    first.close()
    count = len(uris) - 1
    others = sorted(rest.milliseconds)
    return {
        "first_ms": first.milliseconds[0],
        "next_ms_median": others[count // 2],
        "next_ms_worst": others[-1],
        "first_anonymous_kib": memory[1][0] - memory[0][0],
        "first_resident_kib": memory[1][1] - memory[0][1],
        "next_anonymous_kib": (memory[2][0] - memory[1][0]) / count,
        "next_resident_kib": (memory[2][1] - memory[1][1]) / count,
    }


def opening(workspace, scale):
    """Gives {what was opened: figures}; `file` tells what a connection costs in nbdkit itself."""
    size = 1 << 40 if scale.name != "smoke" else 1 << 30
    layers = 32 if scale.name != "smoke" else 3
    chunks = 100_000 if scale.name != "smoke" else 100
    count = scale.stations
    raw = disks.make_empty(workspace.path("tera.raw"), size)
    plain = servers.nbdkit_file(workspace, raw)
    results = {"file": _measure(workspace, plain, [plain.uri()] * count)}
    plain.stop()
    if not workspace.has_plydisk() or not workspace.tool("make-chain").exists():
        return results
    # Chunks that a layer holds in whole, and chunks of which it holds one 4 KiB block: in the map
    # of a version these are not the same.
    for shape in ("whole", "partial"):
        workspace.log(f"  1 TiB, {layers} layers of {chunks} {shape} chunks")
        store = servers.Store(workspace, f"tera-{shape}", raw, "tera")
        for number in range(count):
            store.add_station(f"s{number}", "server-volatile")
        workspace.run(workspace.tool("make-chain"), "--store", store.folder, "--image", "tera",
                      "--layers", layers, "--chunks", chunks, "--shape", shape,
                      "--seed", disks.CHAIN_SEED)
        server = store.serve("plydisk", "s0")
        uris = [server.uri(f"tera@s{number}") for number in range(count)]
        results[f"plydisk, {shape} chunks"] = _measure(workspace, server, uris)
        server.stop()
        workspace.remove(f"tera-{shape}")
    workspace.remove("tera.raw")
    return results
