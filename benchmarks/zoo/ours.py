"""ptylive on a scan of the zoo: its command, with default settings."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo.files import blind_copy, half_copy
from benchmarks.zoo.score import Reconstruction, Truth, half_data_score, score

WAYS = {
    "ours": "the true calibration, and the thickness and slices of thick specimens, as the other programs are told",
    "ours-thickness": "the true calibration and thickness; slices not told",
    "ours-untold": "the true calibration; thickness and slices not told",
    "ours-blind": "nothing but energy, semi-angle, scan and the detector's pixel",
}
"""Ways to run ours, by the information that it is given."""
PACKAGES = ("schema", "streamer", "engine", "application")
"""Packages whose code determines the result of a refinement."""


def run(way: str, source: Path, folder: Path, settings: Sequence[str] = (), *, halves: bool = False) -> dict[str, Any]:
    """Refine a scan and score it; a refusal or a crash is reported in ``error``."""
    folder.mkdir(parents=True, exist_ok=True)
    told, given = list(settings), source
    told += thickness_settings(way, source)
    if way == "ours-blind":
        given = folder / f"{source.stem}_input.h5"
        blind_copy(source, given)
    out = folder / f"{source.stem}.h5"
    found = refined(given, out, told)
    if "error" not in found:
        found |= score(Truth.read(source), Reconstruction.read(out))
    if halves and "error" not in found:
        found |= _halves(source, given, folder, told)
    if given is not source:
        given.unlink()
    return found


def thickness_settings(way: str, source: Path) -> list[str]:
    """Settings that give the depth: slices and thickness of a specimen thicker than a slice, or the thickness alone."""
    import h5py

    if way not in ("ours", "ours-thickness"):
        return []
    with h5py.File(source) as file:
        slices, thickness = len(file["truth/slices"]), float(file["truth"].attrs["thickness_A"])
    if way == "ours-thickness":
        return [f"total_thickness_A={thickness:.1f}"] if thickness > 0 else []
    return [f"num_slices={slices}", f"total_thickness_A={thickness:.1f}"] if slices > 1 else []


def refined(source: Path, out: Path, settings: Sequence[str]) -> dict[str, Any]:
    """The command's report of its run, and its CPU seconds, including reading and writing."""
    program = Path(sys.executable).with_name("ptylive")
    command = [str(program), "refine", str(source), "-o", str(out), "--json"]
    for setting in settings:
        command += ["--set", setting]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=one_thread())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = {"cpu_s": round(spent, 1)}
    if completed.returncode not in (0, 3):
        return found | {"error": (completed.stderr.strip().splitlines() or ["no word"])[-1][:300]}
    report = json.loads(completed.stdout.splitlines()[-1])
    return found | {name: report[name] for name in ("epochs", "loss", "algorithm", "reason", "state") if name in report}


def _halves(source: Path, given: Path, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Refine each colour of the chessboard separately, and compare both."""
    parts = []
    for parity in (0, 1):
        half, out = folder / f"{source.stem}_half{parity}_input.h5", folder / f"{source.stem}_half{parity}.h5"
        half_copy(given, half, parity)
        found = refined(half, out, settings)
        half.unlink()
        if "error" in found:
            return {"halves_error": found["error"]}
        parts.append(Reconstruction.read(out))
        out.unlink()
    return half_data_score(Truth.read(source), (parts[0], parts[1]))


def warm(windows: Sequence[int]) -> None:
    """Compile for windows of these sizes, so that compilation is not in any run's CPU seconds."""
    for window in windows:
        command = [sys.executable, "-m", "ptylive.server.refinement.warm_refinement", str(window)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=one_thread()) as process:
            process.wait()  # it ends when its input does


def code_key() -> str:
    """Digest of the code that a result depends on, including the judge: results of other code are not reused."""
    import ptylive.engine

    rooms = Path(next(iter(ptylive.engine.__path__))).parent
    digest = hashlib.sha256(Path(__file__).with_name("score.py").read_bytes())
    for package in PACKAGES:
        folder = rooms / package if (rooms / package).is_dir() else rooms / "api" / package
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def one_thread() -> dict[str, str]:
    """An environment in which every program computes with one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}
