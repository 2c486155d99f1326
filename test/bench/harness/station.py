"""A station's engine (plydisk attach) between its clients and a server on TCP loopback.

Reads that go to the server are compared with the same without the engine; what lies in the station's
memory, with nbdkit's memory plugin, and with writes that go to the server.
"""

import json
import os
import socket
import statistics
import subprocess
import threading
import time

from . import servers
from .measure import Work, measure, read_all, with_title, write_all
from .workspace import BenchError

READS = [Work("random read, 4k, depth 16"),
         Work("sequential read, 256k, depth 8", pattern="sequential", block=256 * 1024, depth=8)]
WRITES = [Work("random rewrite, 4k, depth 16", "write"),
          Work("sequential rewrite, 256k, depth 8", "write", "sequential", 256 * 1024, 8)]


class TcpServer(servers.Server):
    """A store's server on a port of loopback that stays the same when it is started again."""

    def __init__(self, workspace, store, name, station):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        super().__init__(
            workspace, name,
            ["nbdkit", "-f", "--exit-with-parent", "-i", "127.0.0.1", "-p", self.port,
             workspace.tool("plugin"), f"store={store.folder}"],
            files=[store.image_path], export=f"{store.image}@{station}", folders=[store.folder])

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def uri(self, export=None):
        return f"nbd://127.0.0.1:{self.port}/{self.export if export is None else export}"


class SameServer:
    """Another column of a server that runs."""

    def __init__(self, server, name, station):
        self.name = name
        self.pid = server.pid
        self._server = server
        self._export = f"{server.export.split('@')[0]}@{station}"

    def uri(self):
        return self._server.uri(self._export)

    def files(self):
        return self._server.files()


class Attached(servers.Server):
    """A disk that plydisk attach serves on a Unix socket."""

    def __init__(self, workspace, name, server, station, writes):
        os.environ["PLYDISK_RUN"] = str(workspace.path("run"))
        os.environ["PLYDISK_PLUGIN"] = str(workspace.tool("plugin"))
        super().__init__(
            workspace, name,
            [workspace.tool("plydisk"), "attach", server.uri(server.export.split("@")[0]), "--station",
             station, "--writes", writes, "--socket", "SOCKET", "--foreground"])

    def _folder(self):
        return self.workspace.path("run") / str(self.socket).lstrip("/").replace("-", "%2D").replace("/", "-")

    def _answers(self):
        log = self._folder() / "log"
        return log.exists() and "is attached to" in log.read_text()

    @property
    def pid(self):
        """The engine's: its processor time counts."""
        return int((self._folder() / "engine.pid").read_text())

    def command(self, *words):
        return json.loads(self.workspace.run(self.workspace.tool("plydisk"), *words, "--json"))

    def redirect(self, destination):
        return self.command("redirect", self.socket, destination)


def _measure(workspace, scale, work, compared, title, **more):
    row = measure(workspace, "station", scale.timed(with_title(work, title)), compared, scale.sets,
                  scale.rounds, **more)
    row.peer = compared[0].name
    return row


def _in_memory(workspace, scale, server):
    memory, again = (
        servers.Server(workspace, name,
                       ["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "memory", scale.size])
        for name in ("nbdkit memory", "nbdkit memory again"))
    ram = Attached(workspace, "client-ram", server, "ram", f"client-ram:{2 * scale.size}")
    passing = Attached(workspace, "writes to the server", server, "passing", "server-volatile")
    compared = [memory, again, ram, passing]
    write_all(workspace, compared, scale.size)
    rows = [_measure(workspace, scale, work, compared, f"in memory, {work.title}") for work in WRITES]
    rows += [_measure(workspace, scale, work, compared[:3], f"in memory, {work.title}") for work in READS]
    for disk in compared:
        disk.stop()
    return rows


class Load:
    """Reads and writes of one disk in the background."""

    def __init__(self, workspace, disk, seconds):
        self._process = subprocess.Popen(
            [str(word) for word in (
                workspace.tool("nbd-slices"), "--operation", "mixed", "--pattern", "random", "--block",
                4096, "--depth", 8, "--connections", 1, "--rounds", 1, "--slice-ms", 1000 * seconds,
                f"disk={disk.uri()},0")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self):
        _, errors = self._process.communicate()
        if self._process.returncode != 0:
            raise BenchError(f"the load under redirections failed: {errors.strip()}")


def _redirections(workspace, scale, server):
    """How long requests waited at each redirection under load, milliseconds."""
    disk = Attached(workspace, "redirected", server, "redirected", "client-ram:1G")
    seconds = 30 if scale.name == "full" else 2
    load = Load(workspace, disk, seconds)
    pauses = []
    until = time.monotonic() + seconds - 1
    destinations = ["server-volatile", "client-ram:1G"]
    while time.monotonic() < until:
        pauses.append(disk.redirect(destinations[len(pauses) % 2])["pause_ms"])
        time.sleep(0.05)
    load.wait()
    disk.stop()
    return pauses


def _returns(workspace, scale, server):
    """From the server's readiness to the first answer at the station, milliseconds: the server is
    killed while the station reads."""
    disk = Attached(workspace, "cut off", server, "cut-off", "client-ram:1G")
    times = []
    for _ in range(10 if scale.name == "full" else 2):
        server.process.kill()
        server.process.wait()
        time.sleep(2)
        done = []

        def read():
            subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", "read 0 4k", disk.uri()], check=True,
                           stdout=subprocess.DEVNULL)
            done.append(time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(1)
        workspace.servers.remove(server)
        server.start()
        ready = time.monotonic()
        reader.join()
        if not done:
            raise BenchError("a read failed after the server was back")
        times.append(max(0.0, 1000 * (done[0] - ready)))
    disk.stop()
    return times


def summary(values):
    return {"median": statistics.median(values), "worst": max(values), "count": len(values)}


def station(workspace, scale, base):
    """Gives rows, and {what: figures in milliseconds}."""
    if not workspace.has_plydisk():
        return [], {}
    store = servers.Store(workspace, "station-store", base)
    server = TcpServer(workspace, store, "direct", "direct")
    compared = [server, SameServer(server, "direct again", "again"),
                Attached(workspace, "attached", server, "reader", "client-ram:1G")]
    read_all(workspace, compared, scale.size)
    rows = [_measure(workspace, scale, work, compared, f"from the server, {work.title}", check=200)
            for work in READS]
    compared[2].stop()
    rows += _in_memory(workspace, scale, server)
    pauses = summary(_redirections(workspace, scale, server))
    returns = summary(_returns(workspace, scale, server))
    server.stop()
    workspace.remove("station-store")
    return rows, {"pause of a redirection under load": pauses,
                  "from the server's return to the first answer": returns}
