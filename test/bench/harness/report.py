"""The tables: ratios to `nbdkit file`, and the targets."""

import os
import platform
import re
import shutil
import statistics
import subprocess
from pathlib import Path

PEER = "file"
COLUMNS = ["file again", "plydisk volatile", "plydisk persistent", "cow", "qcow2", "qcow2 8", "qcow2 32"]
OWN = ["plydisk volatile", "plydisk persistent"]

# (rows whose title matches, peer, least ratio)
TARGETS = [
    (r"^cached ", PEER, 1.0),
    (r"^cached ", "qcow2", 2.0),
    (r"^\d+ frozen layers", PEER, 0.95),
    (r"^after \d+ 4k overwrites", PEER, 0.95),
    (r"^random first write", PEER, 1.0),
    (r"^random first write", "qcow2", 3.0),
    (r"^random first write", "cow", 3.0),
    (r"^(random|sequential) rewrite", PEER, 1.0),
    (r"^synced rewrite", PEER, 0.95),
    (r"^synced first write", PEER, 1.0),
    (r"^synced first write", "qcow2", 1.7),
    (r"^cold\b", PEER, 0.9),
    (r"^\d+ stations", PEER, 0.95),
]

# (rows whose title matches, server, peer, least ratio)
STATION_TARGETS = [
    (r"^from the server", "attached", "direct", 0.8),
    (r"^in memory", "client-ram", "nbdkit memory", 0.9),
    (r"^in memory", "client-ram", "writes to the server", 2.0),
]
STATION_TIMES = {"pause of a redirection under load": 10,
                 "from the server's return to the first answer": 1000}  # ms, of the medians

# (name in the results of opening(), greatest value, unit)
OPEN_TARGETS = [
    ("first_ms", 1000, "ms"),
    ("next_ms_median", 50, "ms"),
    ("first_resident_kib", 128 * 1024, "KiB"),
]


def cell(row, server, peer=PEER):
    if server not in row.slices or peer not in row.slices:
        return ""
    low, middle, high = row.ratio(server, peer)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def ratio_table(rows):
    columns = [c for c in COLUMNS if any(c in row.slices for row in rows)]
    lines = ["| work | file, operations/s | " + " | ".join(columns) + " |",
             "| --- |" + " --- |" * (len(columns) + 1)]
    for row in rows:
        rate = f"{row.rate(PEER):,.0f}" if PEER in row.slices else ""
        lines.append(f"| {row.title} | {rate} | " + " | ".join(cell(row, c) for c in columns) + " |")
    return "\n".join(lines)


def processor_table(rows):
    """Processor time of the server for each operation: steadier than rates on a busy machine."""
    rows = [row for row in rows if any(row.cpu_seconds.values())]
    columns = list(dict.fromkeys(c for row in rows for c in row.slices))
    lines = ["| work | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row in rows:
        cells = [f"{row.cpu_us(c):.1f}" if c in row.slices else "" for c in columns]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def target_table(rows):
    lines = ["| work | server | peer | target | measured | met |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        for pattern, peer, least in TARGETS:
            if not re.search(pattern, row.title):
                continue
            for own in OWN:
                text = cell(row, own, peer)
                if text:
                    met = "yes" if row.ratio(own, peer)[1] >= least else "**no**"
                    lines.append(f"| {row.title} | {own} | {peer} | ≥ {least:.2f} | {text} | {met} |")
    return "\n".join(lines) if len(lines) > 2 else "No plydisk was measured."


def opening_table(opened):
    names = ["first_ms", "next_ms_median", "next_ms_worst", "first_anonymous_kib",
             "first_resident_kib", "next_anonymous_kib", "next_resident_kib"]
    lines = ["| opened | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for what, figures in opened.items():
        lines.append(f"| {what} | " + " | ".join(f"{figures[n]:,.1f}" for n in names) + " |")
    lines += ["", "| opened | figure | target | measured | met |", "| --- | --- | --- | --- | --- |"]
    for what, figures in opened.items():
        if what == PEER:
            continue
        for name, most, unit in OPEN_TARGETS:
            met = "yes" if figures[name] <= most else "**no**"
            lines.append(f"| {what} | {name} | ≤ {most:,} {unit} | {figures[name]:,.1f} | {met} |")
        # A connection costs something in nbdkit itself, which is not the session's.
        own = figures["next_anonymous_kib"] - opened[PEER]["next_anonymous_kib"]
        met = "yes" if own < 100 else "**no**"
        lines.append(f"| {what} | idle session, beyond a connection to file | < 100 KiB | {own:,.1f} | {met} |")
    return "\n".join(lines)


def control(rows):
    """How far two servers of the same file were apart: the error of the method."""
    middles = [row.ratio("file again", PEER)[1] for row in rows if "file again" in row.slices]
    if not middles:
        return ""
    worst = max(middles, key=lambda m: abs(m - 1))
    return (f"Control: `file again` serves the same file as `file` from a second process, or one with the "
            f"same history. Its median over all rows is {statistics.median(middles):.3f}; farthest from 1 "
            f"is {worst:.3f}.")


def _version(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
    except (OSError, IndexError):
        return command[0]


def machine(folder):
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    disk = shutil.disk_usage(folder)
    system = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True,
                            check=False).stdout.strip()
    return {
        "processor": f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} processors",
        "memory": f"{int(memory.group(1)) // 1048576} GiB",
        "kernel": platform.release(),
        "file system": f"{system}, {disk.total >> 30} GiB",
        "programs": ", ".join(_version(c) for c in (["nbdkit", "--version"], ["qemu-nbd", "--version"],
                                                    ["fio", "--version"])),
        "load before": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def station_table(rows):
    """Each row has a peer of its own, its first column."""
    lines = ["| work | compared with | its operations/s | server | ratio |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        for server in row.slices:
            if server != row.peer:
                lines.append(f"| {row.title} | {row.peer} | {row.rate(row.peer):,.0f} | {server} | "
                             f"{cell(row, server, row.peer)} |")
    return "\n".join(lines)


def station_targets(rows, times):
    lines = ["| work | server | peer | target | measured | met |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        for pattern, server, peer, least in STATION_TARGETS:
            if re.search(pattern, row.title) and server in row.slices and peer in row.slices:
                met = "yes" if row.ratio(server, peer)[1] >= least else "**no**"
                lines.append(f"| {row.title} | {server} | {peer} | ≥ {least:.2f} | "
                             f"{cell(row, server, peer)} | {met} |")
    for what, most in STATION_TIMES.items():
        if what in times:
            figures = times[what]
            met = "yes" if figures["median"] < most else "**no**"
            lines.append(f"| {what} | | | < {most:,} ms | median {figures['median']:.2f} ms, worst "
                         f"{figures['worst']:.2f} ms of {figures['count']} | {met} |")
    return "\n".join(lines)


def markdown(rows, opened, station_rows, station_times, facts, command):
    parts = [f"Made by `{command}`.", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    if rows:
        parts += [control(rows), "", "Ratios to `nbdkit file`, median (quartiles):", "", ratio_table(rows),
                  "", "Targets:", "", target_table(rows), ""]
    if station_rows:
        parts += ["A station's engine, ratios, median (quartiles):", "", station_table(station_rows), "",
                  station_targets(station_rows, station_times), ""]
    if opened:
        parts += ["Opening sessions on 1 TiB:", "", opening_table(opened), ""]
    parts += ["Microseconds of the server's processor time for one operation:", "",
              processor_table([*rows, *station_rows]), ""]
    return "\n".join(parts)
