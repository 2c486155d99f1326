"""The servers under comparison. Each has a process and a Unix socket of its own."""

import os
import socket
import subprocess
import time
from pathlib import Path

from .workspace import BenchError


class Server:
    """A running server. `name` is its column in the table."""

    def __init__(self, workspace, name, command, files=(), export="", folders=()):
        self.workspace = workspace
        self.name = name
        self.export = export
        self._command = command
        self._files = [Path(f) for f in files]
        self._folders = [Path(f) for f in folders]
        self.process = None
        self.socket = None
        self.start()

    def start(self):
        self.socket = self.workspace.new_socket()
        command = [str(word).replace("SOCKET", str(self.socket)) for word in self._command]
        log = open(self.workspace.path("servers.log"), "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        log.close()
        self.workspace.servers.append(self)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.workspace.path("servers.log").read_text(errors="replace")[-2000:]
                raise BenchError(f"{' '.join(command)} does not serve:\n{tail}")
            time.sleep(0.02)

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop(self):
        if self in self.workspace.servers:
            self.workspace.servers.remove(self)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.socket.unlink(missing_ok=True)

    @property
    def pid(self):
        return self.process.pid

    def uri(self, export=None):
        return f"nbd+unix:///{self.export if export is None else export}?socket={self.socket}"

    def files(self):
        """The files that it reads and writes, for pinning and for dropping."""
        found = list(self._files)
        for folder in self._folders:
            for top, _, names in os.walk(folder):
                found += [Path(top) / name for name in names if name == "data"]
        return found


def nbdkit_file(workspace, path, name="file"):
    return Server(workspace, name, ["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "file", path],
                  files=[path])


def nbdkit_cow(workspace, path):
    return Server(workspace, "cow",
                  ["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "--filter=cow", "file", path],
                  files=[path])


def qemu_nbd(workspace, path, name="qcow2", files=()):
    return Server(workspace, name, ["qemu-nbd", "-t", "-e", "8", "-f", "qcow2", "-k", "SOCKET", path],
                  files=[path, *files])


class Store:
    """A plydisk store made with the `plydisk` command, and its server."""

    def __init__(self, workspace, folder, image_path, image="disk", size=None):
        self.workspace = workspace
        self.folder = workspace.path(folder)
        self.image = image
        self.image_path = image_path
        self.command("init")
        if image_path is None:
            self.command("image", "create", image, "--size", size)
        else:
            self.command("image", "create", image, "--from", image_path, "--link")
        # Reconnecting between measurements must not end a session and drop its layers.
        self.command("param", "set", "session-grace", "3600")

    def command(self, *words):
        return self.workspace.run(
            self.workspace.tool("plydisk"), "--store", self.folder, *words)

    def add_station(self, name, writes):
        self.command("station", "add", name, "--image", self.image, "--writes", writes)

    def serve(self, column, station):
        return Server(
            self.workspace, column,
            ["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", self.workspace.tool("plugin"),
             f"store={self.folder}"],
            files=[] if self.image_path is None else [self.image_path],
            export=f"{self.image}@{station}", folders=[self.folder])


DESTINATIONS = {"plydisk volatile": "server-volatile", "plydisk persistent": "server-persistent"}


def plydisk(workspace, column, folder, image_path, prepare=None):
    """Serves a session of one station, whose writes go where `column` says.

    `prepare` is called with the store before it is served.
    """
    store = Store(workspace, folder, image_path)
    store.add_station("station", DESTINATIONS[column])
    if prepare is not None:
        prepare(store)
    return store.serve(column, "station")
