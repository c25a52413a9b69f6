"""Own memory of a refinement whose patterns do not fit into memory and are in a file on disk.

    python benchmarks/refine_from_disk.py [--pixels 256] [--side 400] [--sweeps 1] [--threads 2] [--folder DIR]

A native recording of side² patterns (64 different ones, bitshuffle and LZ4) is written, then refined in a separate
process with all metadata given: one slice, one mode, sweeps only. ``own_GB`` is the peak of its anonymous memory: pages
of the file belong to the system, which reclaims them when it needs them; ``read_GB`` is the amount read from disk. The
disk must have room for a byte per pixel.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from stream_rate import DIFFERENT_PATTERNS, bslz4, patterns

from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.streamer.recording.recording_writer import created_scan
from ptylive.streamer.wire import FramesMessage

BATCH = 4096
LOOK_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--sweeps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files go (default: the system's temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        started = time.perf_counter()
        write_scan(folder / "scan.h5", given.pixels, given.side)
        written_s = time.perf_counter() - started
        found = refined(folder, given)
    count = given.side**2
    line = {
        "patterns": count,
        "pixels": given.pixels,
        "patterns_GB": count * given.pixels**2 / 1e9,
        "written_s": written_s,
        **found,
    }
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}))


def write_scan(path: Path, pixels: int, side: int) -> None:
    """Write a recording of side² patterns with the metadata that a refinement requires."""
    count = side * side
    header = ScanHeader(
        str(uuid.uuid4()),
        "disk",
        count,
        Scan(shape=(side, side), step_A=(0.5, 0.5), rotation_deg=0.0),
        detector=Detector(
            shape=(pixels, pixels),
            dtype="uint16",
            pixel_mrad=100.0 / pixels,
            beam_center_px=(pixels / 2, pixels / 2),
            transform="none",
        ),
        optics=Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": 50.0}),
    )
    parts = [np.frombuffer(bslz4(pattern), np.uint8) for pattern in patterns(pixels)]
    with created_scan(path, header) as writer:
        for first in range(0, count, BATCH):
            chunk = [parts[number % DIFFERENT_PATTERNS] for number in range(first, min(first + BATCH, count))]
            writer.add(FramesMessage(header.uid, first, len(chunk), "bslz4", tuple(chunk)))
        writer.finish(marks=False)


def refined(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Peak memory of a refinement's process, GB: its own, and including pages of files; its time, s."""
    settings = {
        "num_slices": 1,
        "probe_modes": 1,
        "phase_only_obj": "true",
        "algorithm": "lsq_sqrt",
        "loss_offset": 0.05,
        "bright_field_only": "false",
        "refine_drift": "false",
        "scan_defocus": "false",
        "start_from_map": "false",
        "epoch_max": given.sweeps,
        "sweeps": given.sweeps,
    }
    command = [sys.executable, "-m", "ptylive", "refine", folder / "scan.h5", "-o", folder / "result.h5"]
    command += ["--threads", given.threads]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    anonymous = resident = read = 0.0
    started = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), env=environment) as process:
        while process.poll() is None:
            found = memory_of(process.pid)
            anonymous, resident = max(anonymous, found.get("RssAnon", 0.0)), max(resident, found.get("VmRSS", 0.0))
            read = max(read, read_by(process.pid))
            time.sleep(LOOK_S)
    if process.returncode:
        sys.exit(f"the refinement ended with {process.returncode}")
    return {
        "own_GB": anonymous,
        "with_file_pages_GB": resident,
        "read_GB": read,
        "refined_s": time.perf_counter() - started,
    }


def memory_of(pid: int) -> dict[str, float]:
    """Memory figures of a process as the system names them, GB; empty once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines if line.endswith(" kB")]
    return {words[0].rstrip(":"): int(words[1]) * 1024 / 1e9 for words in pairs}


def read_by(pid: int) -> float:
    """GB that a process has read from disk; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return int(dict(line.split(": ") for line in lines)["read_bytes"]) / 1e9


if __name__ == "__main__":
    main()
