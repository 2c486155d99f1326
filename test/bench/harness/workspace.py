"""The folder a run works in, and the programs that it starts."""

import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


class BenchError(Exception):
    """Ends the run; the text is for the user."""


class Workspace:
    """A temporary folder under $TMPDIR; it and every server go when the run ends, however it ends."""

    def __init__(self, build, log):
        self.build = Path(build).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="plydisk-bench."))
        self.log = log
        self.servers = []
        self.random = random.Random(1)
        self._sockets = 0
        atexit.register(self.clean)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit("interrupted"))

    def clean(self):
        for server in list(self.servers):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return self.folder / name

    def remove(self, *names):
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def new_socket(self):
        self._sockets += 1
        return self.folder / f"{self._sockets}.sock"

    def tool(self, name):
        """One of our own programs, from the build folder."""
        places = {
            "nbd-slices": "test/bench/nbd-slices",
            "nbd-open": "test/bench/nbd-open",
            "make-chain": "test/bench/make-chain",
            "plydisk": "client/plydisk",
            "plugin": "plugin/nbdkit-plydisk-plugin.so",
        }
        return self.build / places[name]

    def has_plydisk(self):
        return self.tool("plugin").exists() and self.tool("plydisk").exists()

    def run(self, *command, timeout=900):
        """Runs a program to its end; gives what it printed."""
        command = [str(word) for word in command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.strip()}")
        if done.stderr.strip():
            self.log(done.stderr.strip())
        return done.stdout


def require(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)}")


def sync_files(files):
    """Writes these files back; not all of the machine's, which may be other people's for minutes."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def drop_caches(files, everything):
    """Empties the page cache of `files`, which nobody may map, or all of it, with the metadata of the
    file systems, if the user may do that."""
    sync_files(files)
    if everything:
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
            return
        except OSError:
            pass
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
