"""All comparisons with other programs, repeated several times, next to the bounds of the machine.

    make bench-peers
    python -m benchmarks.beside_peers [--runs 3] [--only kernel refinement stream] [--out DIR]
        [--environments DIR] [--ptyrad-python P/bin/python] …

Run it from the root of the repository, on an otherwise idle machine. Each program has its own environment: the
interpreter that is given (here or by $PTYLIVE_PTYRAD_PYTHON and the like), or a new one under --environments, which
requires a package index and, for PtyRAD's torch, some GB of disk. A run measures the machine's bounds, then the kernel
(refine_speed.py), refinement next to PtyRAD and py4DSTEM (refine_vs_peers.py) and the stream next to LiberTEM-live
(stream_vs_libertem.py). The result is the median over the runs of ratios within a run. DIR receives record.json with
everything and table.md for readers; figures below the target are not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import refine_speed
from benchmarks.zoo.ours import one_thread
from benchmarks.zoo.scans import ROOT, default_cache
from benchmarks.zoo.tables import hardware
from ptylive.engine.backend.multislice.problem import DataTermKind
from ptylive.server.cli.bounds import measured
from ptylive.server.cli.bounds.shares import FLOPS_PER_MULTIPLY_ADD, pattern_flops

PACKAGES = {
    "abtem": ("abtem>=1.0.6", "ase>=3.23"),
    "ptyrad": ("ptyrad==1.0.0",),
    "py4dstem": ("py4DSTEM==0.14.18",),
    "libertem": ("libertem-live[sim]",),
}
"""Packages installed into the environment of each program."""
MODULES = {
    "abtem": "abtem",
    "ptyrad": "ptyrad",
    "py4dstem": "py4DSTEM",
    "libertem": "libertem_live.detectors.dectris.sim",
}
"""Module of each program that a comparison imports: a missing one would end the run after minutes."""
PARTS = {"kernel": (), "refinement": ("abtem", "ptyrad", "py4dstem"), "stream": ("libertem",)}
"""Comparisons, and the environments that they require."""
SIZES = (96, 192, 256, 512)
"""Sides of the stream's patterns in pixels."""
WIDE_LANES = 24
"""Multiply-adds per clock above which a machine's vectors count as 512 bits wide."""
WANTED_SHARES = {64: 0.6, 96: 0.6, 128: 0.5, 256: 0.5}
"""Target fractions of the multiply-add bound, by window."""
WANTED_RATES = {False: {"thin": 13.0, "thick": 9.0}, True: {"thin": 18.0, "thick": 11.0}}
"""Targets for refinement relative to PtyRAD, by whether vectors are 512 bits wide."""
WANTED_TIME, WANTED_MASKS = 15.0, 4.0
QUIET_LOAD, WANTED_COM = 3.0, {True: 1.7, False: 1.4}
"""Stream targets for the centre of mass, by whether the load stayed below this: the comparison alone makes up to 3."""


class Ratio(NamedTuple):
    """One figure of all runs, and its target."""

    name: str
    values: tuple[float, ...]
    wanted: float


def main() -> None:
    given = arguments()
    pythons = {name: interpreter(name, given) for part in given.only for name in PARTS[part]}
    given.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for number in range(given.runs):
        runs.append(one_run(given, pythons))
        print(
            f"run {number + 1} of {given.runs}, load {runs[-1]['load'][0]:.1f} to {runs[-1]['load'][1]:.1f}", flush=True
        )
        record = {"hardware": hardware(), "runs": runs}
        (given.out / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        text = table(hardware(), runs)
        (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="of the stream's patterns")
    parser.add_argument("--rounds", type=int, default=2, help="of the stream in a run")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the simulated scans are kept")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-peers")
    for name in PACKAGES:
        python = os.environ.get(f"PTYLIVE_{name.upper()}_PYTHON")
        parser.add_argument(f"--{name}-python", type=Path, default=python, help=f"an interpreter that has {name}")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    return given


def interpreter(name: str, given: argparse.Namespace) -> Path:
    """Interpreter of a program's environment, which is made if none is given."""
    stated = getattr(given, f"{name}_python")
    if stated is not None:
        command = [stated, "-c", f"import {MODULES[name]}"]
        try:
            found = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise SystemExit(f"--{name}-python {stated}: {error.strerror}; give an interpreter") from None
        if found.returncode != 0:
            reason = found.stderr.strip().splitlines()[-1:] or ["it ends without a word"]
            raise SystemExit(f"--{name}-python {stated}: {reason[0]}; install {' '.join(PACKAGES[name])} there")
        return Path(stated).absolute()
    folder = (given.environments / name).absolute()
    python = folder / "bin" / "python"
    marker = folder / "installed"
    if not marker.exists():
        print(f"installing {', '.join(PACKAGES[name])} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        marker.touch()
    return python


def one_run(given: argparse.Namespace, pythons: Mapping[str, Path]) -> dict[str, Any]:
    """Measure bounds, then every requested comparison; record the load before and afterwards."""
    before = os.getloadavg()[0]
    bounds, missing = measured.measure()
    run: dict[str, Any] = {"bounds": bounds, "not_measured": missing}
    parts = {"kernel": kernel, "refinement": refinement, "stream": stream}
    run |= {name: parts[name](given, pythons) for name in given.only}
    return {**run, "load": [before, os.getloadavg()[0]]}


def kernel(_given: argparse.Namespace, _pythons: Mapping[str, Path]) -> dict[str, float]:
    """Patterns per CPU second of the refinement's kernel by window, one slice and mode, one thread."""
    cases = {window for window, slices, modes, _ in refine_speed.CASES if slices == modes == 1}
    return {str(size): refine_speed.measure(size, 1, 1, DataTermKind.AMPLITUDE, 1)[0] for size in sorted(cases)}


def refinement(given: argparse.Namespace, pythons: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Rows of refine_vs_peers.py."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.refine_vs_peers", "--out", f"{folder}/out.md"]
        command += ["--cache", str(given.cache)]
        for name in PARTS["refinement"]:
            command += [f"--{name}-python", str(pythons[name])]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=one_thread())
        found = json.loads(Path(folder, "out.json").read_text(encoding="utf-8"))
    return found["rows"]  # type: ignore[no-any-return]


def stream(given: argparse.Namespace, pythons: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Rows of stream_vs_libertem.py, one for each size."""
    sizes = ",".join(map(str, given.sizes))
    command = [sys.executable, "benchmarks/stream_vs_libertem.py", "--sizes", sizes, "--rounds", str(given.rounds)]
    command += ["--venv", str(pythons["libertem"].parents[1])]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def table(machine: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line for each ratio."""
    loads = [load for run in runs for load in run["load"]]
    lines = [f"{machine}; load {min(loads):.1f} to {max(loads):.1f}; {_bounds_line(runs)}.", ""]
    lines += ["| figure | runs | median | wanted | |", "|---|---|---|---|---|"]
    for ratio in ratios(runs):
        middle = statistics.median(ratio.values)
        shown = ", ".join(_digits(value) for value in ratio.values)
        verdict = "reached" if middle >= ratio.wanted else "**not reached**"
        lines.append(f"| {ratio.name} | {shown} | {_digits(middle)} | {_digits(ratio.wanted)} | {verdict} |")
    return "\n".join(lines) + "\n"


def _bounds_line(runs: Sequence[Mapping[str, Any]]) -> str:
    best = {name: max(run["bounds"].get(name, 0.0) for run in runs) for name in ("fma", "clock", "memory_read")}
    return (
        f"{best['fma'] / 1e9:.0f} · 10⁹ multiply-adds/s on one thread ({best['fma'] / max(best['clock'], 1):.0f} a"
        f" clock), memory read at {best['memory_read'] / 1e9:.0f} GB/s"
    )


def _digits(value: float) -> str:
    return f"{value:.3g}"


def ratios(runs: Sequence[Mapping[str, Any]]) -> list[Ratio]:
    """Every ratio that all runs have."""
    return [*_kernel_shares(runs), *_refinement_ratios(runs), *_stream_ratios(runs)]


def _kernel_shares(runs: Sequence[Mapping[str, Any]]) -> list[Ratio]:
    found = []
    for window, wanted in WANTED_SHARES.items():
        flops = pattern_flops(window, 1, 1) / FLOPS_PER_MULTIPLY_ADD
        measured_runs = [run for run in runs if "fma" in run["bounds"] and str(window) in run.get("kernel", {})]
        values = tuple(run["kernel"][str(window)] * flops / run["bounds"]["fma"] for run in measured_runs)
        if values:
            found.append(Ratio(f"kernel, {window}²: share of multiply-adds", values, wanted))
    return found


def _refinement_ratios(runs: Sequence[Mapping[str, Any]]) -> list[Ratio]:
    found = []
    wide = any(run["bounds"].get("fma", 0) > WIDE_LANES * run["bounds"].get("clock", float("inf")) for run in runs)
    for case, wanted in WANTED_RATES[wide].items():
        rates, times = list[float](), list[float]()
        for run in runs:
            rows = [row for row in run.get("refinement", ()) if row["case"] == case and "error" not in row]
            ours = next((row for row in rows if row["name"] == "ptylive"), None)
            if ours is None:
                continue
            rates += [
                ours["patterns_per_cpu_s"] / row["patterns_per_cpu_s"]
                for row in rows
                if row["name"].startswith("ptyrad")
            ]
            our_time = ours["cpu_s_to"]["0.98"]
            peer_times = [row["cpu_s_to"]["0.98"] for row in rows if row is not ours and row["cpu_s_to"]["0.98"]]
            if our_time and peer_times:
                times.append(min(peer_times) / our_time)
        if rates:
            found.append(Ratio(f"refinement, {case}: patterns per CPU s over PtyRAD's", tuple(rates), wanted))
        if times:
            found.append(
                Ratio(f"refinement, {case}: CPU s to 0.98, the best peer's over ours", tuple(times), WANTED_TIME)
            )
    return found


def _stream_ratios(runs: Sequence[Mapping[str, Any]]) -> list[Ratio]:
    sizes = {row["pixels"]: None for run in runs for row in run.get("stream", ())}
    found = []
    for size in sizes:
        rows = [row for run in runs for row in run.get("stream", ()) if row["pixels"] == size]
        quiet = statistics.median(row["load"] for row in rows) < QUIET_LOAD
        for word, wanted in (("com", WANTED_COM[quiet]), ("masks", WANTED_MASKS)):
            values = tuple(row[f"ptylive / {word}"] for row in rows)
            reduction = "centre of mass" if word == "com" else "45 masks"
            found.append(Ratio(f"stream, {size}²: frames/s over LiberTEM-live's {reduction}", values, wanted))
    return found


if __name__ == "__main__":
    main()
