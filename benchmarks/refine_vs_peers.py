"""Refinement side by side with other programs, one core each, in one run on one machine.

    python benchmarks/refine_vs_peers.py [--cases thin thick] [--noisy] [--wrong] [--peers py4dstem ptyrad phaser]
        [--refining modes positions tilts] [--work DIR]

Makes the data sets with abTEM and runs the peers from PyPI, each in a virtual environment made under --work; neither
comes near ours. Data set maker, peers' runners and the judge of quality stand in ../shared/tools/refine_peers (or
$PTYLIVE_REFINE_PEERS). CPU seconds; compilation, loading and set-up are outside for everyone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PEERS = {
    "py4dstem": ["py4DSTEM==0.14.18"],
    "ptyrad": [
        *("torch==2.13.0", "accelerate", "optuna", "pydantic", "pyyaml", "scikit-learn", "matplotlib", "tifffile"),
        *("scipy", "tqdm"),
    ],
    "phaser": ["phaserEM[jax]==0.3.1"],
}
NO_DEPENDENCIES = {"ptyrad": ["ptyrad==1.0.0"]}
MAKER = ["abtem", "ase", "h5py"]
PYTHON_311 = {"ptyrad": ("plotting/basic.py", "lr_iters['niter'][-1]", 'lr_iters["niter"][-1]')}
"""A line that Python 3.11 cannot read, quotes inside the same quotes of an f-string, and what it means."""
THRESHOLDS = (0.95, 0.98)
ITERATIONS = {"thin": 12, "thick": 8}
WRONG = [(0.0, 1.0), (40.0, 1.0), (-40.0, 1.0), (40.0, 1.3), (-40.0, 0.7), (40.0, 0.7), (-40.0, 1.3)]
"""Error of the defocus (Å), factor on the thickness."""
REFINING: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "modes": ({"probe_modes": 4}, ("probe_pmode_max=1", "probe_pmode_max=4")),
    "positions": (
        {"update_probe_pos": True},
        ('probe_pos_shifts={"start_iter": None, "lr": 0}', 'probe_pos_shifts={"start_iter": 1, "lr": 5e-4}'),
    ),
    "tilts": (
        {"update_tilts": True},
        ('probe_pos_shifts={"start_iter"', 'obj_tilts={"start_iter": 1, "lr": 1e-4}, probe_pos_shifts={"start_iter"'),
    ),
}
"""Refined besides object and probe: our preset, and what becomes of a line of PtyRAD's runner."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=("thin", "thick"), default=["thin", "thick"])
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=["py4dstem"])
    parser.add_argument("--noisy", action="store_true", help="Poisson counts instead of clean patterns")
    parser.add_argument(
        "--wrong", action="store_true", help="ours only: start from wrong defocus and thickness, and scan for them"
    )
    parser.add_argument(
        "--refining", nargs="+", choices=tuple(REFINING), help="rates only, beside PtyRAD refining the same as well"
    )
    parser.add_argument("--work", type=Path, default=Path("build/refine_vs_peers"))
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours is not None:
        more = REFINING[given.refining[0]][0] if given.refining else {}
        print(json.dumps(ours(given.ours, noisy=given.noisy, more=more)))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    if given.wrong:
        for case in given.cases:
            from_wrong_values(made_data_set(given.work, case), noisy=given.noisy)
        return
    if given.refining:
        for case in given.cases:
            compare_rates(given.work, case, given.refining)
        return
    rows = []
    for case in given.cases:
        data = made_data_set(given.work, case)
        rows.append(run_ours(data, case, noisy=given.noisy))
        rows.extend(run_peer(given.work, data, case, peer, noisy=given.noisy) for peer in given.peers)
    show(rows)
    (given.work / "figures.json").write_text(json.dumps({"load": os.getloadavg(), "rows": rows}, indent=1))


def tools() -> Path:
    """Where the runners stand."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "tools" / "refine_peers"
    return Path(os.environ.get("PTYLIVE_REFINE_PEERS", beside))


def python_with(work: Path, name: str, packages: list[str], alone: list[str] | None = None) -> Path:
    """The interpreter of a virtual environment that holds the packages."""
    python = work / "venv" / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / "venv" / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages, "h5py"], check=True)
        if alone:
            subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", *alone], check=True)
    if name in PYTHON_311:
        _mend(work / "venv" / name, name)
    return python


def _mend(venv: Path, name: str) -> None:
    """Make a package readable to this Python."""
    place, wrong, right = PYTHON_311[name]
    for path in venv.glob(f"lib/python*/site-packages/{name}/{place}"):
        text = path.read_text(encoding="utf-8")
        if wrong in text:
            path.write_text(text.replace(wrong, right), encoding="utf-8")


def made_data_set(work: Path, case: str) -> Path:
    """The data set of a case; minutes of simulation the first time."""
    path = work / f"{case}.h5"
    if not path.exists():
        python = python_with(work, "maker", MAKER)
        subprocess.run([str(python), str(tools() / "make_dataset.py"), case, str(path)], check=True)
    return path


def compare_rates(work: Path, case: str, refining: list[str]) -> None:
    """Patterns per CPU second with more refined than object and probe, ours and PtyRAD's."""
    data = made_data_set(work, case)
    for name in refining:
        source = (tools() / "run_ptyrad.py").read_text(encoding="utf-8")
        before, after = REFINING[name][1]
        if source.count(before) != 1:
            raise SystemExit(f"run_ptyrad.py: {before!r} is not there once")
        runner = work / f"run_ptyrad_{name}.py"
        runner.write_text(source.replace(before, after), encoding="utf-8")
        theirs = run_peer(work, data, case, "ptyrad", noisy=False, runner=runner)["patterns_per_cpu_s"]
        rate = run_ours(data, case, noisy=False, refining=name)["patterns_per_cpu_s"]
        print(
            f"{case}, {name} refined too: {rate:.0f} patterns per CPU s, PtyRAD {theirs:.0f}, ratio {rate / theirs:.1f}"
        )


def run_peer(
    work: Path, data: Path, case: str, peer: str, *, noisy: bool, runner: Path | None = None
) -> dict[str, Any]:
    """One peer on one case, judged by the common judge."""
    out = work / f"{peer}_{case}{'_noisy' if noisy else ''}{'' if runner is None else runner.stem}"
    python = python_with(work, peer, PEERS[peer], NO_DEPENDENCIES.get(peer))
    command = [str(python), str(runner or tools() / f"run_{peer}.py"), str(data), str(out), "--threads", "1"]
    command += ["--iters", str(ITERATIONS[case]), *(["--noisy"] if noisy else [])]
    subprocess.run(command, check=True, env={**one_thread(), "PYTHONPATH": str(tools())})
    judge = python_with(work, "judge", ["numpy", "scipy"])
    subprocess.run([str(judge), str(tools() / "evaluate.py"), str(data), str(out)], check=True)
    found = json.loads((out / "run.json").read_text())
    reached = {str(t): (found["to_corr"].get(str(t)) or {}).get("cpu_s") for t in THRESHOLDS}
    return {
        "name": f"{found['name']} {found['version']}" if "version" in found else found["name"],
        "case": case,
        "patterns_per_cpu_s": found["patterns_per_cpu_s"],
        "cpu_s_to": reached,
        "last": found["quality"][-1]["corr"],
        "best": max(entry["corr"] for entry in found["quality"]),
        "peak_MB": found["peak_rss_MB"],
    }


def run_ours(data: Path, case: str, *, noisy: bool, refining: str | None = None) -> dict[str, Any]:
    """Ours in a process of its own, so that its memory is its own."""
    command = [sys.executable, __file__, "--ours", str(data), *(["--noisy"] if noisy else [])]
    command += ["--refining", refining] if refining else []
    done = subprocess.run(command, check=True, env=one_thread(), capture_output=True, text=True)
    return {"name": "ptylive", "case": case, **json.loads(done.stdout.splitlines()[-1])}


def one_thread() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}


def ours(path: Path, *, noisy: bool, more: Mapping[str, Any]) -> dict[str, Any]:
    """The default preset on one thread; quality at the end and after 1, 2, 3 sweeps.

    As for the others, the peak of the memory is that of one run, without the judge and without the compiler, which
    works in a process of its own (as it does beside a server).
    """
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.schema.preset import Preset

    use_persistent_cache()
    dataset, slices, thickness = read(path, noisy=noisy)
    window = str(dataset.patterns.shape[-1])
    subprocess.run([sys.executable, "-m", "ptylive.server.refinement.warm_refinement", window], check=True)
    from ptylive.engine.backend.multislice.compiled_backend import warm_up

    warm_up(int(window))  # from the disk
    known: dict[str, Any] = {"num_slices": slices, "total_thickness_A": thickness if slices > 1 else None}
    known["probe_modes"] = 1  # the data are coherent, and the peers use one mode too
    known.update(more)
    evaluations, seconds, result = timed(dataset, Preset.from_mapping(known))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reached: dict[str, float | None] = {str(t): None for t in THRESHOLDS}
    for sweeps in (1, 2, 3):
        _, so_far, early = timed(dataset, Preset.from_mapping({**known, "sweeps": sweeps, "epoch_max": sweeps}))
        found = quality(path, early)
        for threshold in THRESHOLDS:
            if found >= threshold and reached[str(threshold)] is None:
                reached[str(threshold)] = round(so_far, 3)
    return {
        "patterns_per_cpu_s": round(len(dataset.patterns) * evaluations / seconds),
        "cpu_s_to": reached,
        "cpu_s_in_all": round(seconds, 2),
        "last": quality(path, result),
        "best": None,
        "peak_MB": round(peak, 1),
        "reason": result.reason,
    }


def from_wrong_values(path: Path, *, noisy: bool) -> None:
    """Quality from a defocus and a thickness that are wrong, both found by short trials first."""
    from dataclasses import replace

    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine import refine
    from ptylive.schema import Origin, Quantity
    from ptylive.schema.preset import Preset

    use_persistent_cache()
    dataset, slices, thickness = read(path, noisy=noisy)
    true = float(dataset.calibration.aberrations["C10"])
    for error, factor in WRONG if slices > 1 else [(error, 1.0) for error in (0.0, 40.0, -40.0)]:
        calibration = dataset.calibration.having(C10=Quantity(true - error, Origin.GIVEN))
        known: dict[str, Any] = {"num_slices": slices, "scan_defocus": True}
        if slices > 1:
            known.update(total_thickness_A=factor * thickness, scan_thickness=True)
        began = time.process_time()
        result = refine(replace(dataset, calibration=calibration), Preset.from_mapping(known), backend="cpu")
        seconds = time.process_time() - began
        found = ", ".join(f"{curve.quantity} {curve.best:.4g}" for curve in result.curves)
        print(
            f"defocus {error:+.0f} Å, thickness × {factor}: {quality(path, result):.4f}, {seconds:.0f} CPU s ({found})"
        )


def timed(dataset: Any, preset: Any) -> tuple[float, float, Any]:
    """Evaluations, CPU seconds from the first batch to the last, and the result."""
    from ptylive.engine.refine import refine

    marks: list[float] = []
    result = refine(dataset, preset, backend="cpu", on_progress=lambda _: marks.append(time.process_time()))
    return result.evaluations, marks[-1] - marks[0], result


def read(path: Path, *, noisy: bool) -> tuple[Any, int, float]:
    """The data set as the engine takes it, the number of slices and the thickness."""
    import h5py

    from ptylive.engine.dataset import Dataset
    from ptylive.schema import Calibration, Origin, Quantity

    with h5py.File(path) as file:
        given = dict(file.attrs)
        counts, positions = file["data_poisson"][()], file["positions_A"][()]
        patterns = counts
        if not noisy:
            patterns = file["data"][()]
            patterns *= np.float32(counts.sum() / patterns.sum())
    del counts
    rows, columns, pixels, _ = patterns.shape
    values = {
        "energy_eV": float(given["accelerating_voltage_kV"]) * 1e3,
        "convergence_semiangle_mrad": float(given["semiconvergence_mrad"]),
        "detector_pixel_invA": float(given["recip_pixel_invA"]),
        "C10": -float(given["defocus_A"]),
        "rotation_deg": 0.0,
    }
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    count, centre = rows * columns, np.full(2, pixels // 2, float)
    bad = np.zeros((pixels, pixels), bool)
    stack = patterns.reshape(count, pixels, pixels)
    where = positions - positions[0]
    dataset = Dataset(stack, np.arange(count), where, bad, centre, (rows, columns), calibration)
    return dataset, int(given["num_slices"]), float(given["thickness_A"])


def quality(path: Path, result: Any) -> float:
    """Correlation with the truth, by the same judge as the peers'."""
    spec = importlib.util.spec_from_file_location("quality", tools() / "quality.py")
    assert spec is not None and spec.loader is not None
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    pixel = result.object_sampling_A[0]
    origin = [-value / pixel for value in result.origin_A]
    return float(judge.evaluate(str(path), np.angle(result.object[0]), origin, pixel)["corr"])


def show(rows: list[dict[str, Any]]) -> None:
    print(f"load {os.getloadavg()}")
    print("program            case   patterns/CPU s   CPU s to 0.95 / 0.98   last    best    peak MB")
    for row in rows:
        to = " / ".join("–" if value is None else f"{value:g}" for value in row["cpu_s_to"].values())
        best = "–" if row["best"] is None else f"{row['best']:.4f}"
        print(
            f"{row['name']:18s} {row['case']:6s} {row['patterns_per_cpu_s']:14.0f}   {to:20s}   "
            f"{row['last']:.4f}  {best:6s}  {row['peak_MB']:.0f}"
        )


if __name__ == "__main__":
    main()
