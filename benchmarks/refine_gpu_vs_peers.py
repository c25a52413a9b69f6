"""Refinement side by side with other programs on one GPU, in one run, by wall-clock time.

    python -m benchmarks.refine_gpu_vs_peers --make FOLDER [--cases thin thick] [--noisy]
        [--abtem-python ABTEM/bin/python]
    python -m benchmarks.refine_gpu_vs_peers --run FOLDER [--device cuda] [--out TABLE.json]
        [--only ptylive ptyrad-256 …] [--seconds 8] [--iterations 200] [--limit 60]
        [--ptyrad-python P/bin/python] [--py4dstem-python Q/bin/python]

Run it from the root of the repository. ``--make`` writes the scans of refine_vs_peers.py (1e7 electrons per Å², 2e4 and
2e5 with ``--noisy``) with their truth, a compressed file each; it requires abTEM. ``--run`` requires only these files,
on a machine with a GPU. Each program runs in a separate process that ends at the limit; it is judged after each
iteration by the zoo's judge, once it has ended. Set-up, trials and compilation are excluded for all programs: an
iteration precedes the counted ones. torch.compile compiles again in the first counted iteration, whose time is
therefore replaced by the median of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import timed
from benchmarks.refine_vs_peers import CLEAN, NOISY, case_file
from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.peers import installed, prepared
from benchmarks.zoo.scans import ROOT, default_cache
from benchmarks.zoo.score import Truth
from benchmarks.zoo.tables import hardware

MOST_JUDGED = 48
"""Largest number of iterations that are judged: all of the first ones, later ones in growing steps."""
POLL_S = 0.05


@dataclass(frozen=True)
class Program:
    """One configuration of one program."""

    package: str
    batch: int = 0
    compiled: bool = False

    @property
    def runner(self) -> str:
        """Module that its process runs."""
        return f"benchmarks.peers.run_wall_{self.package.lower()}"


PROGRAMS = {
    "ptylive": Program("ptylive"),
    "ptyrad-32": Program("ptyrad", 32),
    "ptyrad-256": Program("ptyrad", 256),
    "py4dstem-32": Program("py4DSTEM", 32),
    "py4dstem-256": Program("py4DSTEM", 256),
    "ptyrad-32-compiled": Program("ptyrad", 32, compiled=True),
    "ptyrad-256-compiled": Program("ptyrad", 256, compiled=True),
}
"""PtyRAD does not compile by default; its documentation says that compiling takes less time."""


def main() -> None:
    given = arguments()
    if given.make is not None:
        make(given)
    if given.run is not None:
        compare(given)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.refine_gpu_vs_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="simulate and write the scans")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="compare on scans that were written")
    parser.add_argument("--cases", nargs="+", choices=("thin", "thick"), default=["thin", "thick"])
    parser.add_argument("--noisy", action="store_true", help="as many electrons as an experiment has")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the simulated scans are kept")
    parser.add_argument("--abtem-python", type=Path, default=Path(sys.executable), help="an interpreter that has abTEM")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=tuple(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--iterations", type=int, default=200, help="of other programs, at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="of their iterations, at most")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a process, set-up included")
    parser.add_argument("--ptyrad-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--py4dstem-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--out", type=Path, help="figures as JSON, kept up to date; beside it the table as Markdown")
    given = parser.parse_args()
    if given.make is None and given.run is None:
        parser.error("say --make FOLDER or --run FOLDER")
    return given


def make(given: argparse.Namespace) -> None:
    """Write the scans."""
    given.make.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cases:
            source = case_file(name, given, Path(folder))
            out = given.make / f"{name}.npz"
            carry(source, out, NOISY[name] if given.noisy else CLEAN)
            print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {dose_and_shape(out)}")


def carry(source: Path, out: Path, dose: float) -> None:
    """Write the input of the programs and the truth that judges them in one file; counts remain integers."""
    handed = prepared(source)
    counts = np.rint(handed["patterns"])
    if np.abs(counts - handed["patterns"]).max() or counts.max() > np.iinfo(np.uint16).max:
        raise SystemExit(f"{source}: the patterns are no counts of 16 bits")
    handed["patterns"] = counts.astype(np.uint8 if counts.max() < 256 else np.uint16)
    truth = {f"truth_{name}": value for name, value in asdict(Truth.read(source)).items()}
    truth["truth_phase"] = truth["truth_phase"].astype(np.float32)
    np.savez_compressed(out, **handed, **truth, dose=dose)


def dose_and_shape(path: Path) -> str:
    """Dose and shape of a scan that was written."""
    with np.load(path) as given:
        patterns = given["patterns"]
        each = patterns.sum(dtype=float) / (patterns.shape[0] * patterns.shape[1])
        return f"{given['dose']:.3g} electrons/Å², {each:.3g} a pattern, {patterns.shape} {patterns.dtype}"


def truth_of(given: Mapping[str, Any]) -> Truth:
    """The truth of a scan that was written."""
    plain = {name.name: given[f"truth_{name.name}"] for name in fields(Truth)}
    return Truth(**{name: value if value.ndim else float(value) for name, value in plain.items()})


def compare(given: argparse.Namespace) -> None:
    """Run all programs on all scans; available results are shown and written at once."""
    rows = []
    context = get_context("spawn")
    workers = min(MOST_JUDGED, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=on_one_thread) as judges:
        for name in given.cases:
            for program in given.only:
                row = {"case": name, "name": program, **figures_of(program, given.run / f"{name}.npz", given, judges)}
                rows.append(row)
                print(table([row]).splitlines()[-1], flush=True)
                if given.out is not None:
                    save_figures(given, rows)
    print(f"\n{heading(given)}\n\n{table(rows)}")


def save_figures(given: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> None:
    record = {"hardware": hardware(), "card": card(), "device": given.device, "rows": rows}
    given.out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    given.out.with_suffix(".md").write_text(f"{heading(given)}\n\n{table(rows)}\n", encoding="utf-8")


def heading(given: argparse.Namespace) -> str:
    """Heading with hardware, device and scans."""
    hardware_name = (card() or "no card found") if given.device == "cuda" else "the processor"
    scans = "; ".join(f"{name}: {dose_and_shape(given.run / f'{name}.npz')}" for name in given.cases)
    return f"{hardware()}; on {hardware_name}. {scans}."


def on_one_thread() -> None:
    """Limit the judge to one thread: its small arrays gain nothing from threads, which wait for one another."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)


def figures_of(name: str, scan: Path, given: argparse.Namespace, judges: ProcessPoolExecutor) -> dict[str, Any]:
    """Figures of a program on a scan; ``error`` with its last line of output if it failed."""
    program = PROGRAMS[name]
    python = getattr(given, f"{program.package.lower()}_python", Path(sys.executable))
    if not installed(python, program.package):
        return {"skipped": True, "error": f"not run: {program.package} cannot be imported by {python}"}
    with tempfile.TemporaryDirectory() as folder, np.load(scan) as carried:
        handed, truth = Path(folder, "given.npz"), truth_of(carried)
        patterns = carried["patterns"].astype(np.float32)
        np.savez(handed, patterns=patterns, **{key: carried[key] for key in ("positions_A", "calibration")})
        ran = in_a_process(program, python, handed, given)
        place = Path(folder, "run.json")
        if not place.exists():
            return {"error": ran.get("error", "it left no figures"), **ran}
        report = json.loads(place.read_text(encoding="utf-8"))
        report["wall_s"] = report["wall_s"][: len(list(Path(folder).glob("phase_*.npy")))]
        if not report["wall_s"]:
            return {"error": ran.get("error", "no iteration ended"), **ran}
        judged_epochs = judged_iterations(len(report["wall_s"]))
        paths = [Path(folder, f"phase_{number:04d}.npy") for number in judged_epochs]
        corrs = list(judges.map(partial(judged, truth, report), paths))
    return row(report, judged_epochs, corrs, len(truth.points), compiled=program.compiled) | ran


def in_a_process(program: Program, python: Path, handed: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run it; return the GPU memory it used, and what went wrong."""
    request = {"device": given.device, "iterations": given.iterations, "seconds": given.seconds}
    request |= {"batch": program.batch, "compiled": program.compiled}
    command = [str(python.absolute()), "-m", program.runner, str(handed), str(handed.parent), json.dumps(request)]
    environment = dict(os.environ) if given.device == "cuda" else one_thread()
    with watched_card() as samples:
        try:
            completed = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=given.limit
            )
            wrong = (completed.stderr.strip().splitlines() or ["no word"])[-1][:300] if completed.returncode else ""
        except subprocess.TimeoutExpired:
            wrong = f"broken off after {given.limit:g} s"
    memory = {"card_MB": round(max(samples) - min(samples))} if samples else {}
    return memory | ({"error": wrong} if wrong else {})


@contextmanager
def watched_card() -> Iterator[list[float]]:
    """Sample the used GPU memory, in MB, repeatedly; nothing without a GPU."""
    samples: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            samples.append(pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6)
            while not ended.wait(POLL_S):
                samples.append(pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6)
        except pynvml.NVMLError:
            return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def card() -> str:
    """Name of the GPU, and version of its driver."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        completed = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return completed.stdout.strip().splitlines()[0] if completed.returncode == 0 and completed.stdout.strip() else ""


def judged_iterations(iterations: int) -> list[int]:
    """Numbers, from 1, of the iterations that are judged, including the last one."""
    if iterations <= MOST_JUDGED:
        return list(range(1, iterations + 1))
    return sorted(
        {round(value) for value in np.geomspace(1, iterations, MOST_JUDGED)} | set(range(1, MOST_JUDGED // 3))
    )


def judged(truth: Truth, report: Mapping[str, Any], path: Path) -> float:
    """Correlation of a projected phase with the truth."""
    return timed.judged(truth, np.load(path)[None], report)


def row(
    report: Mapping[str, Any],
    judged_epochs: Sequence[int],
    corrs: Sequence[float],
    count: int,
    *,
    compiled: bool = False,
) -> dict[str, Any]:
    """Figures of a run with ``count`` patterns; ``compiled``: replace the time of its first iteration by the median."""
    spent = [float(value) for value in report["wall_s"]]
    passes = report.get("passes") or [1.0] * len(spent)
    later = list(zip(spent, passes, strict=True))[1:] or [(spent[0], passes[0])]
    usual = statistics.median(seconds / evaluations for seconds, evaluations in later)
    counted = [usual * passes[0] if compiled else spent[0], *spent[1:]]
    totals = np.cumsum(counted)
    times = [float(totals[number - 1]) for number in judged_epochs]
    copied = ("version", "whole_run_s", "first_run_s", "reason", "host_MB", "arrays_MB")
    return {
        "iterations": len(spent),
        "first_s": round(spent[0], 4),
        "iteration_s": round(statistics.median(seconds for seconds, _ in later), 5),
        "patterns_per_s": round(count / usual),
        "wall_s_to": timed.reached(times, corrs, digits=4),
        "total_s": round(float(totals[-1]), 4),
        "last": corrs[-1],
        "best": max(corrs),
        "looks": [
            [number, round(time, 4), corr] for number, time, corr in zip(judged_epochs, times, corrs, strict=True)
        ],
        "wall_s": [round(value, 5) for value in spent],
        **{name: report[name] for name in copied if report.get(name) is not None},
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line for each program on each case, with the last line of output of one that failed."""
    heads = (
        "case",
        "program",
        "ms an iteration (the first)",
        "patterns/s",
        "s to 0.95 / 0.98",
        "after 1, 2, 3, 5, 10, 20",
        "at the end",
    )
    heads += ("best", "iterations, s", "card MB (arrays)", "")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for found in rows:
        wrong = str(found.get("error", "")).replace("|", "/")
        if "iterations" not in found:
            lines.append(f"| {found['case']} | {found['name']} |" + " |" * (len(heads) - 3) + f" {wrong} |")
            continue
        thresholds = " / ".join("–" if value is None else f"{value:.3g}" for value in found["wall_s_to"].values())
        after = {number: corr for number, _, corr in found["looks"]}
        memory = f"{found.get('card_MB', '–')} ({found.get('arrays_MB', 0):.0f})"
        cells = (
            f"{1e3 * found['iteration_s']:.3g} ({1e3 * found['first_s']:.3g})",
            f"{found['patterns_per_s']:,}".replace(",", " "),
            thresholds,
            ", ".join(f"{after[number]:.3f}" for number in (1, 2, 3, 5, 10, 20) if number in after),
            f"{found['last']:.4f}",
            f"{found['best']:.4f}",
            f"{found['iterations']}, {found['total_s']:.3g}",
            memory,
            wrong,
        )
        lines.append(f"| {found['case']} | {found['name']} {found['version']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
