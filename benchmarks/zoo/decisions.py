"""What a default refinement decides on its own, whether it depends on seed or batch, and its cost.

    python -m benchmarks.zoo.decisions SCAN.h5 [MORE.h5 ...] [--ways ours ours-blind] [--out decisions.md]

Scans are files of the zoo (``python -m benchmarks.zoo`` keeps them under its --cache). Each is refined with seeds 0, 1
and 2 and with half and twice the batch of the first run; CPU seconds are of one thread, and those before the first
epoch (trials, and laying out the patterns) are separate from those of the run. Compilation is excluded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.zoo import ours
from benchmarks.zoo.files import blind_copy
from benchmarks.zoo.score import Reconstruction, Truth, score

SEEDS = (0, 1, 2)
BATCHES = {"half": 0.5, "twice": 2.0}
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


def main() -> None:
    given = arguments()
    if given.one is not None:
        print(json.dumps(refined(Path(given.one[0]), given.one[1:])))
        return
    rows: list[dict[str, Any]] = []
    for scan in given.scans:
        for way in given.ways:
            rows += of_scan(scan, way, given.set, given.seeds_only)
            if given.out is not None:
                given.out.with_suffix(".json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    text = table(rows)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--ways", nargs="*", choices=tuple(ours.WAYS), default=["ours"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, to try it")
    parser.add_argument("--seeds-only", type=int, default=len(SEEDS), metavar="N", help="N seeds; 1: no batches either")
    parser.add_argument("--out", type=Path, help="table as Markdown; beside it the same as JSON")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def of_scan(scan: Path, way: str, settings: list[str], seeds: int) -> list[dict[str, Any]]:
    """A row for each seed and batch, each from a separate process."""
    settings = settings + ours.thickness_settings(way, scan)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = scan
        if way == "ours-blind":
            source = Path(folder) / scan.name
            blind_copy(scan, source)
        for seed in SEEDS[:seeds]:
            rows.append(_row(scan, source, way, f"seed {seed}", [*settings, f"seed={seed}"]))
        for name, factor in BATCHES.items() if seeds > 1 and "batch" in rows[0] else ():
            batch = f"batch_size={round(factor * rows[0]['batch'])}"
            rows.append(_row(scan, source, way, f"{name} the batch", [*settings, batch]))
    return rows


def _row(scan: Path, source: Path, way: str, name: str, settings: list[str]) -> dict[str, Any]:
    """Row of a separate process with one thread."""
    command = [sys.executable, "-m", "benchmarks.zoo.decisions", "--one", str(source), *settings]
    completed = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=ours.one_thread())
    row: dict[str, Any] = {"scan": scan.stem, "way": way, "run": name}
    if completed.returncode:
        return row | {"error": completed.returncode}
    row |= json.loads(completed.stdout.splitlines()[-1])
    results = Path(row.pop("results"))
    row |= {"corr": score(Truth.read(scan), Reconstruction.read(results))["corr"]}
    results.unlink()
    print(row["scan"], way, name, row["corr"], row["decided"], f"{row['before_s']} + {row['run_s']} s", flush=True)
    return row


def refined(scan: Path, settings: list[str]) -> dict[str, Any]:
    """Refine as the command does; return CPU seconds before the first epoch, by kind of trial, and of the run.

    ``NUMBA_NUM_THREADS`` and the like must be 1.
    """
    from ptylive.application.extensions import Preset
    from ptylive.application.offline import method_of, reconstruct_file, refinable, start_guess
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.backend.multislice.fast_sizes import padded_size
    from ptylive.engine.backend.multislice.warm_up import warm_up
    from ptylive.engine.refine import refine
    from ptylive.engine.results import Run, add_refinement
    from ptylive.server.cli.values import parse_assignments
    from ptylive.streamer.source import open_source

    use_persistent_cache()
    preset = Preset.from_mapping(parse_assignments(settings))
    reconstruction = reconstruct_file(scan, {}, (method_of(preset.start.start_map),))
    first = next(
        (live_map for live_map in reconstruction.rendering.maps if live_map.name == preset.start.start_map), None
    )
    with open_source(scan, {}) as source:
        dataset = refinable(source, reconstruction.calibration)
        warm_up(padded_size(max(source.header.detector_shape)))  # read from disk if it was compiled before
        clock = _Clock()
        with planned_batches() as sizes:
            result = refine(dataset, preset, start=start_guess(first, reconstruction.calibration), on_progress=clock)
        clock.end()
    descriptor, name = tempfile.mkstemp(suffix=".h5")
    os.close(descriptor)
    Path(name).unlink()
    add_refinement(Path(name), Run("refinement", preset, result), result.calibration or reconstruction.calibration, {})
    return {"results": name, "reason": result.reason, **clock.told(), **decisions(result), "batch": sizes[-1]}


@contextmanager
def planned_batches() -> Iterator[list[int]]:
    """Batch sizes of the courses planned within the context; the last one is that of the run."""
    from ptylive.engine.refine.run.course import CoursePlan

    sizes: list[int] = []
    plan_of = CoursePlan.of

    def planned(*positional: Any, **named: Any) -> CoursePlan:
        plan = plan_of(*positional, **named)
        sizes.append(plan.batch_size)
        return plan

    with patch.object(CoursePlan, "of", planned):
        yield sizes


def decisions(result: Any) -> dict[str, Any]:
    """The decisions, in short form."""
    slices, drift, calibration = int(result.object.shape[1]), result.drift, result.calibration
    weak, thickness = "bright field only" in result.reason, re.search(r"thickness ([\d.]+)", result.reason)
    decided = {
        "form": "weak" if weak else "thick" if slices > 1 else "thin",
        "term": result.algorithm.split(",")[0],
        "slices": slices,
        "phase": slices > 1 and "slices: phase object" in result.reason,
        "modes": int(result.probe.shape[-3]),
        "map": _from_map(result.reason),
        "drift": bool(drift is not None and drift.applied),
        "epochs": len(result.loss),
    }
    values = {"defocus_A": -float(calibration.aberrations.get("C10", 0.0)), "rotation_deg": calibration.rotation_deg}
    if thickness:
        values["thickness_A"] = float(thickness.group(1))
    return {"decided": decided, "values": values}


def _from_map(reason: str) -> bool:
    """Whether it started from the live map: chosen by trials, whose text also names rejected options, or by dose."""
    chosen = re.search(r"from (the live map|an empty object): ", reason)
    return "started from the live map" in reason if chosen is None else chosen.group(1) == "the live map"


class _Clock:
    """CPU seconds of each reported trial, until the next report."""

    def __init__(self) -> None:
        self._stage_start, self._stage = time.process_time(), "laying out"
        self.seconds: Counter[str] = Counter()
        self.trials: Counter[str] = Counter()

    def __call__(self, progress: Any) -> None:
        stage = kind_of(progress.message) if progress.phase == "trial" else "run"
        if progress.phase == "trial":
            self.trials[stage] += 1
        if stage != self._stage or progress.phase == "trial":
            self._switch_to(stage)

    def end(self) -> None:
        self._switch_to("")

    def _switch_to(self, stage: str) -> None:
        now = time.process_time()
        self.seconds[self._stage] += now - self._stage_start
        self._stage_start, self._stage = now, stage

    def told(self) -> dict[str, Any]:
        """Rounded seconds, by kind and in total."""
        by_kind = {stage: round(spent, 2) for stage, spent in self.seconds.items()}
        before = sum(spent for stage, spent in self.seconds.items() if stage != "run")
        return {
            "by": by_kind,
            "trials": dict(self.trials),
            "before_s": round(before, 2),
            "run_s": round(self.seconds["run"], 2),
        }


def kind_of(words: str) -> str:
    """Kind of the trial in a message "trying ...", without its numbers."""
    return " ".join(NUMBER.sub("", words).removeprefix("trying ").split()).replace("modes", "mode")


def table(rows: list[dict[str, Any]]) -> str:
    """For each scan: decisions, the number of runs that made each, and the spread of the correlation."""
    head = "| scan | told | decisions (runs) | correlation | spread | CPU s before / of the run | of it |"
    lines = [head, "|" + " --- |" * 7]
    for scan, way in dict.fromkeys((row["scan"], row["way"]) for row in rows):
        runs = [row for row in rows if (row["scan"], row["way"]) == (scan, way) and "corr" in row]
        if not runs:
            lines.append(f"| {scan} | {way} | failed | | | | |")
            continue
        kinds = Counter(_short(row["decided"]) for row in runs)
        decided = "; ".join(f"{words} ({count})" for words, count in kinds.most_common())
        found = [row["corr"] for row in runs]
        before, ran = (sum(row[name] for row in runs) / len(runs) for name in ("before_s", "run_s"))
        spent: Counter[str] = Counter()
        for row in runs:
            spent.update(row["by"])
        costly = ", ".join(f"{k} {v / len(runs):.1f}" for k, v in spent.most_common(4) if k != "run")
        spread = max(found) - min(found)
        values = f"{runs[0]['corr']:.3f} | {spread:.4f} | {before:.1f} / {ran:.1f} | {costly}"
        lines.append(f"| {scan} | {way} | {decided} | {values} |")
    return "\n".join(lines)


def _short(decided: dict[str, Any]) -> str:
    words = [f"{decided['form']} {decided['term']}", f"{decided['modes']} modes"]
    words += [f"{decided['slices']} slices"] if decided["slices"] > 1 else []
    return ", ".join(words + [name for name in ("phase", "map", "drift") if decided[name]])


if __name__ == "__main__":
    main()
