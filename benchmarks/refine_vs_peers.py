"""Refinement side by side with other programs, one core each, in one run on one machine.

    python -m benchmarks.refine_vs_peers [--cases thin thick] [--noisy] [--abtem-python ABTEM/bin/python]
        [--ptyrad-python P/bin/python] [--py4dstem-python Q/bin/python] [--phaser-python R/bin/python] [--out TABLE.md]
    python -m benchmarks.refine_vs_peers --refining modes positions tilts --ptyrad-python P/bin/python
    python -m benchmarks.refine_vs_peers --wrong --noisy

Run it from the root of the repository. It measures patterns per CPU second, CPU seconds to correlations of 0.95 and
0.98 with the truth, quality and peak memory on one thin and one thick scan, coherent and without accidents, simulated
by the zoo (benchmarks/zoo/simulate.py) and judged by its judge. Compilation, loading and set-up are excluded for all
programs; all are given the true calibration. benchmarks/peers/timed.py explains how to install the other programs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import timed
from benchmarks.zoo.draws import SEED, Draw
from benchmarks.zoo.ours import one_thread, warm
from benchmarks.zoo.peers import prepared
from benchmarks.zoo.scans import ROOT, default_cache, simulated
from benchmarks.zoo.score import Reconstruction, Truth, score
from benchmarks.zoo.tables import hardware

CLEAN = 1e7
"""Electrons per Å² for negligible noise: millions of them in a pattern."""
NOISY = {"thin": 2e4, "thick": 2e5}
ITERATIONS = {"thin": 12, "thick": 8}
"""Iterations of the other programs."""
SWEEPS = (1, 2, 3)
"""Numbers of our sweeps after which the quality is evaluated, besides the end."""
WRONG_STARTS = [(0.0, 1.0), (40.0, 1.0), (-40.0, 1.0), (40.0, 1.3), (-40.0, 0.7), (40.0, 0.7), (-40.0, 1.3)]
"""Error of the defocus (Å), factor on the thickness."""
REFINING: dict[str, dict[str, Any]] = {
    "modes": {"probe_modes": 4},
    "positions": {"update_probe_pos": True},
    "tilts": {"update_tilts": True},
}
"""What is refined besides object and probe, as settings of our preset; PtyRAD's runner uses the same words."""


def main() -> None:
    given = arguments()
    if given.ours is not None:
        print(json.dumps(ours(*given.ours, given.refining or ())))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cases:
            scan = case_file(name, given, Path(folder))
            if given.wrong:
                from_wrong_values(scan)
            elif given.refining:
                compare_rates(name, scan, given)
            else:
                rows.append({"case": name, **run_ours(scan)})
                for peer in timed.PEERS:
                    found = timed.run(peer, scan, getattr(given, f"{peer}_python"), iterations(name, given))
                    rows.append({"case": name, **found})
    if rows:
        text = f"{hardware()}; load {os.getloadavg()[0]:.1f}.\n\n{table(rows)}\n"
        print(text)
        if given.out is not None:
            given.out.write_text(text, encoding="utf-8")
            record = {"hardware": hardware(), "load": os.getloadavg(), "noisy": given.noisy, "rows": rows}
            given.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.refine_vs_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", nargs="+", choices=("thin", "thick"), default=["thin", "thick"])
    parser.add_argument("--noisy", action="store_true", help="as many electrons as an experiment has")
    parser.add_argument(
        "--wrong", action="store_true", help="ours only: start from wrong defocus and thickness, and scan for them"
    )
    parser.add_argument(
        "--refining", nargs="+", choices=tuple(REFINING), help="rates only, beside PtyRAD refining the same as well"
    )
    parser.add_argument("--iterations", type=int, help="of other programs, instead of 12 (thin) and 8 (thick)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where the simulated scans are kept")
    parser.add_argument("--abtem-python", type=Path, default=Path(sys.executable), help="an interpreter that has abTEM")
    for peer, package in timed.PEERS.items():
        parser.add_argument(f"--{peer}-python", type=Path, help=f"an interpreter that has {package}")
    parser.add_argument("--out", type=Path, help="table as Markdown; beside it the same as JSON")
    parser.add_argument("--ours", type=Path, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def iterations(name: str, given: argparse.Namespace) -> int:
    return given.iterations or ITERATIONS[name]


def case(name: str) -> Draw:
    """A monolayer of MoS2 at 80 kV, or 4.7 nm of SrTiO3 at 200 kV in four slices, without accidents."""
    of_case: dict[str, dict[str, Any]] = {
        "thin": {
            "specimen": "mos2",
            "thickness_A": 0.0,
            "slices": 1,
            "energy_eV": 80e3,
            "semiangle_mrad": 25.0,
            "defocus_A": 120.0,
            "pixels": 64,
            "cutoff": 3.09,
            "shape": (40, 40),
            "step_A": 0.4,
        },
        "thick": {
            "specimen": "sto_001",
            "thickness_A": 47.0,
            "slices": 4,
            "energy_eV": 200e3,
            "semiangle_mrad": 30.0,
            "defocus_A": 150.0,
            "pixels": 96,
            "cutoff": 2.09,
            "shape": (32, 32),
            "step_A": 0.5,
        },
    }
    return Draw(
        name=f"{name}_{of_case[name]['specimen']}",
        seed=SEED,
        set="side by side",
        index=0,
        **of_case[name],
        astigmatism_A=0.0,
        astigmatism_deg=0.0,
        pattern="raster",
        flyback=0,
        rotation_deg=0.0,
        transform="none",
        dose=CLEAN,
        source_A=0.0,
        focal_spread_A=0.0,
        drift_A=(0.0, 0.0),
        jitter_A=0.0,
        beam_offset_px=(0.0, 0.0),
        descan_px=(0.0, 0.0, 0.0, 0.0),
        bad_pixels=0,
        configurations=1,
    )


def case_file(name: str, given: argparse.Namespace, folder: Path) -> Path:
    """The scan of a case, simulated if it does not exist yet; with noise in a separate file."""
    drawn = case(name)
    clean = simulated(drawn, given.cache.absolute(), given.abtem_python.absolute())
    if not given.noisy:
        return clean
    thinned(clean, folder / f"{name}_noisy.h5", NOISY[name] / drawn.dose)
    return folder / f"{name}_noisy.h5"


def thinned(source: Path, out: Path, share: float) -> None:
    """The same scan with a fraction of its electrons, each kept at random: the rest is again Poisson-distributed."""
    import h5py

    rng = np.random.default_rng([SEED, 11])
    with h5py.File(source) as file, h5py.File(out, "w") as copy:
        for name in ("metadata", "truth"):
            file.copy(name, copy)
        copy["data"] = rng.binomial(file["data"][()], share).astype(np.uint16)


def run_ours(scan: Path, refining: Sequence[str] = ()) -> dict[str, Any]:
    """Run ours in a separate process with the same input as the others, so that its memory can be measured."""
    with tempfile.TemporaryDirectory() as folder:
        handed = Path(folder, "given.npz")
        np.savez(handed, **prepared(scan))
        command = [sys.executable, "-m", "benchmarks.refine_vs_peers", "--ours", str(scan), str(handed)]
        command += ["--refining", *refining] if refining else []
        completed = subprocess.run(command, check=False, env=one_thread(), cwd=ROOT, capture_output=True, text=True)
    if completed.returncode:
        return {"name": "ptylive", "error": (completed.stderr.strip().splitlines() or ["no word"])[-1][:300]}
    return {"name": "ptylive", **json.loads(completed.stdout.splitlines()[-1])}


def ours(scan: Path, handed: Path, refining: Sequence[str]) -> dict[str, Any]:
    """The default preset on one thread; quality at the end and after 1, 2, 3 sweeps.

    As for the others, peak memory is that of one run, without the judge and without the compiler, which runs in a
    separate process (as it does with a server).
    """
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.backend.multislice.warm_up import warm_up
    from ptylive.schema.preset import Preset

    use_persistent_cache()
    with np.load(handed) as given:
        dataset, known = dataset_of(given)
    window = int(dataset.patterns.shape[-1])
    warm([window])
    warm_up(window)  # from the disk
    known |= {"probe_modes": 1}  # the data are coherent, and the peers use one mode too
    for name in refining:
        known |= REFINING[name]
    evaluations, seconds, result = one_run(dataset, Preset.from_mapping(known))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent, corrs = list[float](), list[float]()
    for sweeps in () if refining else SWEEPS:
        _, sweep_s, early = one_run(dataset, Preset.from_mapping({**known, "sweeps": sweeps, "epoch_max": sweeps}))
        spent.append(sweep_s)
        corrs.append(quality(scan, early))
    return {
        "patterns_per_cpu_s": round(len(dataset.patterns) * evaluations / seconds),
        "cpu_s_to": timed.reached(spent, corrs),
        "cpu_s_in_all": round(seconds, 2),
        "last": quality(scan, result),
        "peak_MB": round(peak, 1),
        "reason": result.reason,
    }


def one_run(dataset: Any, preset: Any) -> tuple[float, float, Any]:
    """Evaluations, CPU seconds from the first batch to the last, and the result.

    The noise estimate afterwards is not counted, as no other program makes one.
    """
    from ptylive.engine.refine import refine

    marks: dict[int, float] = {}

    def mark(progress: Any) -> None:
        if progress.phase != "trial":
            marks.setdefault(progress.epoch, time.process_time())

    result = refine(dataset, preset, backend="cpu", on_progress=mark)
    return result.evaluations, max(marks.values()) - min(marks.values()), result


def dataset_of(given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The input of the other programs as the engine accepts it, and the preset's slices and thickness."""
    from ptylive.engine.dataset import Dataset
    from ptylive.schema import Calibration, Origin, Quantity

    known, patterns = json.loads(str(given["calibration"])), given["patterns"]
    rows, columns, side, _ = patterns.shape
    values = {
        "energy_eV": known["energy_eV"],
        "convergence_semiangle_mrad": known["semiangle_mrad"],
        "detector_pixel_invA": known["pixel_invA"],
        "C10": -known["defocus_A"],
        "rotation_deg": known["rotation_deg"],
    }
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    stack = patterns.reshape(rows * columns, side, side)
    bad, centre = np.zeros((side, side), bool), np.full(2, side // 2, float)
    positions = given["positions_A"]
    dataset = Dataset(stack, np.arange(rows * columns), positions, bad, centre, (rows, columns), calibration)
    slices = known["slices"]
    return dataset, {"num_slices": slices, "total_thickness_A": slices * known["slice_A"] if slices > 1 else None}


def quality(scan: Path, result: Any) -> float:
    """Correlation with the truth, by the same judge as the peers'."""
    rows, columns = result.object_sampling_A
    phase = np.angle(result.object[0]).astype(float)
    return float(score(Truth.read(scan), Reconstruction(phase, (rows, columns), result.origin_A))["corr"])


def compare_rates(name: str, scan: Path, given: argparse.Namespace) -> None:
    """Patterns per CPU second when more is refined than object and probe, ours and PtyRAD's."""
    for extra in given.refining:
        ours_row = run_ours(scan, [extra])
        peer_row = timed.run("ptyrad", scan, given.ptyrad_python, iterations(name, given), [extra])
        rates = [found.get("patterns_per_cpu_s") for found in (ours_row, peer_row)]
        words = [
            found.get("error", f"{rate} patterns per CPU s")
            for found, rate in zip((ours_row, peer_row), rates, strict=True)
        ]
        ratio = f", ratio {rates[0] / rates[1]:.1f}" if rates[0] and rates[1] else ""
        print(f"{name}, {extra} refined too: {words[0]}; PtyRAD {words[1]}{ratio}", flush=True)


def from_wrong_values(scan: Path) -> None:
    """Quality from a wrong defocus and a wrong thickness, both found by short trials first."""
    from dataclasses import replace

    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine import refine
    from ptylive.schema import Origin, Quantity
    from ptylive.schema.preset import Preset

    use_persistent_cache()
    dataset, slicing = dataset_of(prepared(scan))
    true = float(dataset.calibration.aberrations["C10"])
    thick = slicing["num_slices"] > 1
    for error, factor in WRONG_STARTS if thick else [(error, factor) for error, factor in WRONG_STARTS if factor == 1]:
        calibration = dataset.calibration.having(C10=Quantity(true - error, Origin.GIVEN))
        known = {**slicing, "scan_defocus": True}
        if thick:
            known |= {"total_thickness_A": factor * slicing["total_thickness_A"], "scan_thickness": True}
        began = time.process_time()
        result = refine(replace(dataset, calibration=calibration), Preset.from_mapping(known), backend="cpu")
        seconds = time.process_time() - began
        found = ", ".join(f"{curve.quantity} {curve.best:.4g}" for curve in result.curves)
        print(
            f"{scan.stem}: defocus {error:+.0f} Å, thickness × {factor}: {quality(scan, result):.4f}, "
            f"{seconds:.0f} CPU s ({found})",
            flush=True,
        )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line for each program on each case, then the reasons for missing programs."""
    heads = ("case", "program", "patterns per CPU s", "CPU s to 0.95 / 0.98", "at the end", "best", "peak MB")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        if "error" in row:
            continue
        thresholds = " / ".join("–" if value is None else f"{value:g}" for value in row["cpu_s_to"].values())
        best = f"{row['best']:.4f}" if "best" in row else ""
        cells = (f"{row['patterns_per_cpu_s']:,}".replace(",", " "), thresholds, f"{row['last']:.4f}", best)
        lines.append(f"| {row['case']} | {row['name']} | {' | '.join(cells)} | {row['peak_MB']:.0f} |")
    skipped = dict.fromkeys(f"- {row['name']}: {row['error']}" for row in rows if row.get("skipped"))
    failed = [
        f"- {row['case']}, {row['name']}: {row['error']}" for row in rows if "error" in row and not row.get("skipped")
    ]
    return "\n".join([*lines, *([""] if skipped or failed else []), *skipped, *failed])


if __name__ == "__main__":
    main()
