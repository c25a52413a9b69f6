"""Deep generative priors beside the refinement of pixels, on scans that `ptylive simulate` draws.

    python -m benchmarks.dgp [--cases dose pace …] [--files FILE ...] [--folder FOLDER] [--write docs/dgp.md]

From the root of the repository, with PyTorch installed (`pip install 'ptylive[dgp]'`). One thread, CPU seconds. Scans
and figures are kept in the folder, so that a run goes on where it was interrupted; a file given is a simulated scan
with a /truth. The truth is looked at here only.

    dose     correlation with the truth of three specimens at 10^2, 10^3 and 10^4 electrons per square ångström
    pace     epochs until frequencies below 0.1 1/Å hold 0.9 of their final power, from the same two sweeps
    depth    a bilayer in 16 slices of 1 Å and 6 probe modes: phase in slices where no layer is
    null     patterns in a wrong order: highest ring of the correlation with the truth, and what the result says
    size     64 x 64 patterns of 64 x 64 pixels: CPU seconds and memory
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import ptylive
from benchmarks.zoo.score import BLUR, Reconstruction, Truth, ring_correlation, score
from benchmarks.zoo.tables import hardware
from ptylive.application.offline import refinable, start_guess
from ptylive.engine.refine import RefineResult, refine
from ptylive.engine.refine.run.history import History, read_snapshot, snapshots
from ptylive.schema.preset import Preset
from ptylive.streamer.source import open_source

CASES = ("dose", "pace", "depth", "null", "size")
DOSES = (1e2, 1e3, 1e4)
SPECIMENS: Mapping[str, Mapping[str, Any]] = {
    "bilayer of MoS2, 80 kV, seed 1": {"seed": 1},
    "WS2, 60 kV, seed 11": {
        "specimen": "monolayer", "material": "WS2", "energy_eV": 60e3, "defocus_A": 150, "seed": 11,
    },
    "gold atoms, 200 kV, seed 21": {
        "specimen": "atoms", "material": "Au", "energy_eV": 200e3, "convergence_semiangle_mrad": 20, "coverage": 0.05,
        "seed": 21,
    },
}  # fmt: skip
SMOOTH: Mapping[str, Mapping[str, Any]] = {
    "gaussians, seed 5": {"specimen": "gaussians", "seed": 5},
    "circles, seed 6": {"specimen": "circles", "seed": 6},
    "particles, seed 7": {"specimen": "particles", "seed": 7},
}
"""Specimens that have something at low frequencies."""
SLICES, SLICE_A, MODES = 16, 1.0, 6
BEGIN, END = "<!-- benchmarks/dgp.py -->", "<!-- end -->"
LOW_INVA, HELD_POWER = 0.1, 0.9
HIGHEST_RING = 0.1
PACE_EPOCHS = 16
SURFACE_ZERO = 100.0
Figures = dict[str, Any]


def main() -> None:
    given = arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = given.folder / "figures.json"
    found: Figures = json.loads(kept.read_text()) if kept.exists() else {}
    for name, make in jobs(given):
        if name not in found:
            found[name] = make()
            kept.write_text(json.dumps(found, indent=1))
            print(f"{name}: {found[name]}", flush=True)
    text = f"{hardware()}; load {os.getloadavg()[0]:.0f}.\n\n{tables(found)}"
    print(text)
    if given.write is not None:
        before, _, rest = given.write.read_text(encoding="utf-8").partition(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dgp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES, help="what is measured")
    parser.add_argument("--files", nargs="*", default=(), type=Path, help="simulated scans with a /truth, besides")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ptylive-dgp", help="what is kept")
    parser.add_argument("--write", type=Path, help="Markdown file whose tables are replaced")
    return parser.parse_args()


def jobs(given: argparse.Namespace) -> list[tuple[str, Any]]:
    """Name and function of everything that is measured, in the order of the cases asked for."""
    folder, first = given.folder, next(iter(SPECIMENS))
    thin = {**SPECIMENS[first], "slice_thickness_A": SLICE_A, "scan_shape": (24, 24), "detector_shape": (48, 48)}
    large = {**SPECIMENS[first], "scan_shape": (64, 64)}
    of_case = {
        "dose": [
            (f"dose/{name}/{dose:g}", partial(compared, folder, name, settings, dose))
            for dose in DOSES
            for name, settings in SPECIMENS.items()
        ],
        "pace": [(f"pace/{first}/10000", partial(pace, folder, first, SPECIMENS[first], 1e4))]
        + [
            (f"pace/{name}/{dose:g}", partial(pace, folder, f"pace {name}", SMOOTH[name], dose))
            for name in SMOOTH
            for dose in (1e3, 1e4)
        ],
        "depth": [("depth/bilayer/10000", partial(depth, folder, "depth", thin, 1e4))],
        "null": [
            (f"null/{first}/{dose:g}", partial(shuffled, folder, first, SPECIMENS[first], dose)) for dose in (1e2, 1e4)
        ],
        "size": [("size/64 x 64/10000", partial(compared, folder, "size", large, 1e4))],
    }
    made = [job for case in given.cases for job in of_case[case]]
    return made + [(f"dose/{path.stem}/as recorded", partial(compared_file, path)) for path in given.files]


def scan(folder: Path, name: str, settings: Mapping[str, Any], dose: float) -> Path:
    """A drawn scan, made where it is not there."""
    path = folder / f"{name.replace(' ', '_').replace(',', '')}_{dose:g}.h5"
    if not path.exists():
        ptylive.simulate(path, dose_e_per_A2=dose, **settings)
    return path


def refined(path: Path, order: Any = None, history: Path | None = None, **settings: Any) -> tuple[RefineResult, float]:
    """A refinement from the live map, and its CPU seconds; ``order``: of the patterns, where it is not theirs."""
    opened = ptylive.open_scan(path)
    maps = opened.reconstruct(["obf"])
    start = start_guess(maps["obf"], maps.calibration)
    with open_source(path, {}) as source:
        dataset = refinable(source, maps.calibration)
        if order is not None:
            dataset, start = replace(dataset, patterns=np.asarray(dataset.patterns)[order]), None
        before = time.process_time()
        kept = None if history is None else History(history)
        result = refine(dataset, Preset.from_mapping(settings), start=start, backend="cpu", history=kept)
    return result, time.process_time() - before


def truth_of(path: Path) -> Truth:
    """The truth of a file of `ptylive simulate`, blurred as the zoo blurs its own."""
    with h5py.File(path) as file:
        told, truth = dict(file["metadata"].attrs), file["truth"]
        columns = int(told["scan_shape"][1])
        names = "positions_A", "nominal_positions_A" if "nominal_positions_A" in truth else "positions_A"
        true, nominal = (truth[n][:, :columns].reshape(-1, 2) for n in names)
        phase, sampling = truth["phase"][()].astype(float), float(truth.attrs["object_sampling_A"])
        energy, angle = float(told["energy_eV"]), float(told["convergence_semiangle_mrad"])
    wavelength = 12.2643 / np.sqrt(energy * (1 + 0.978476e-6 * energy))
    resolution = wavelength / (2e-3 * angle)
    first = nominal[0] + (true - nominal).mean(0)
    turn, search = float(told["rotation_deg"]), max(1.2, resolution / 2)
    return Truth(phase, sampling, first, nominal - nominal[0], BLUR * resolution, search, turn)


def seen(result: RefineResult) -> Reconstruction:
    """A result as the judge sees it."""
    sampling, origin = result.object_sampling_A, result.origin_A
    return Reconstruction(np.angle(result.object[0]).astype(float), sampling, origin)


def compared(*drawn: Any) -> Figures:
    """Pixels as by default, and networks, on a drawn scan."""
    return compared_file(scan(*drawn))


def compared_file(path: Path) -> Figures:
    """Pixels as by default, and networks."""
    truth, figures = truth_of(path), {}
    for way, settings in (("pixels", {}), ("dgp", {"method": "dgp"})):
        result, seconds = refined(path, **settings)
        found = score(truth, seen(result))
        figures[way] = {name: found[name] for name in ("corr", "corr_best_blur", "frc_half_A")}
        figures[way] |= {"cpu_s": round(seconds, 1)}
    figures["dgp"] |= {"epoch": result.prior.epoch, "gain": str(result.prior.over_pixels)}
    figures["dgp"] |= {"warning": result.prior.warning, "reason": result.reason.rpartition("; ")[2]}
    figures["peak_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return figures


def shuffled(*drawn: Any) -> Figures:
    """Patterns in a wrong order."""
    path = scan(*drawn)
    truth, count = truth_of(path), len(truth_of(path).points)
    order, figures = np.random.default_rng(99).permutation(count), {}
    for way, settings in (("pixels", {}), ("dgp", {"method": "dgp"})):
        result, _ = refined(path, order, num_slices=1, refine_drift=False, **settings)
        figures[way] = {"highest_ring": highest_ring(truth, seen(result)), "message": result.message}
        figures[way] |= {"corr": score(truth, seen(result))["corr"]}
    figures["dgp"]["warned"] = bool(result.prior.warning)
    return figures


def highest_ring(truth: Truth, found: Reconstruction) -> float:
    """Of the correlation with the truth, beyond the first four rings: those hold too few independent values."""
    places, inside = truth.field()
    looked = found.at(found.turned(places, truth.rotation_deg))
    _, rings = ring_correlation(looked, truth.blurred(0.0, places), inside, truth.sampling_A)
    return round(float(np.abs(rings[4 : len(rings) // 3]).max()), 3)


def pace(*drawn: Any) -> Figures:
    """From the same two sweeps: pixels that go on, and networks."""
    path, figures = scan(*drawn), Figures()
    common = {"num_slices": 1, "probe_modes": 1, "refine_drift": False, "start_from_map": False, "sweeps": 2}
    for way, settings in (
        ("pixels", {"epoch_max": 2 + PACE_EPOCHS}),
        ("dgp", {"epoch_max": 2, "method": "dgp", "dgp_epochs": PACE_EPOCHS}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            result, seconds = refined(path, None, Path(folder), **common, **settings)
            powers = [low_power(read_snapshot(file)) for file in snapshots(Path(folder))]
        truth = low_power_of_truth(path)
        after = np.asarray(powers[3:])  # behind the start and the two sweeps
        figures[way] = {
            "epochs": int(np.flatnonzero(after >= HELD_POWER * after[-1])[0]) + 1,
            "final_over_truth": round(float(after[-1] / truth), 3),
            "powers_over_truth": [round(float(p / truth), 3) for p in powers],
            "corr": score(truth_of(path), seen(result))["corr"],
            "cpu_s": round(seconds, 1),
        }
    return figures


def low_power(state: Any) -> float:
    """Of the phase below 0.1 1/Å, in the scanned field."""
    phase, low, high = np.angle(state.object[0]).sum(0), state.positions_A.min(0), state.positions_A.max(0)
    first, last = ((edge - np.asarray(state.origin_A)) / state.object_sampling_A for edge in (low, high))
    (top, left), (bottom, right) = np.ceil(first).astype(int), np.floor(last).astype(int)
    return power_below(phase[top:bottom, left:right], state.object_sampling_A[0])


def low_power_of_truth(path: Path) -> float:
    truth = truth_of(path)
    (top, left) = np.ceil(truth.first_A / truth.sampling_A).astype(int)
    (bottom, right) = np.floor((truth.first_A + truth.points.max(0)) / truth.sampling_A).astype(int)
    return power_below(truth.phase[top:bottom, left:right], truth.sampling_A)


def power_below(phase: Any, sampling_A: float) -> float:
    """Mean power, so that pictures of different sampling compare."""
    flat = (phase - phase.mean()) * np.outer(np.hanning(phase.shape[0]), np.hanning(phase.shape[1]))
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, sampling_A) for n in phase.shape), indexing="ij"))
    return float((np.abs(np.fft.fft2(flat, norm="forward")) ** 2)[(q < LOW_INVA) & (q > 0)].sum())


def depth(*drawn: Any) -> Figures:
    """Root mean square of the phase in slices farther than 2 Å from a layer, over that of all."""
    path = scan(*drawn)
    with h5py.File(path) as file:
        slices = np.asarray(file["truth/slices"][()], float)
        thickness = float(file["truth"].attrs["slice_thickness_A"])
    where = np.flatnonzero((slices**2).mean(axis=(1, 2)) > 0.05 * (slices**2).mean(axis=(1, 2)).max()) * thickness
    offset = (SLICES * SLICE_A - where.max() - where.min()) / 2  # the layers in the middle of what is refined
    settings = {"num_slices": SLICES, "total_thickness_A": SLICES * SLICE_A, "probe_modes": MODES}
    figures: Figures = {"layers_A": [round(float(v + offset), 1) for v in where]}
    centres = (np.arange(SLICES) + 0.5) * SLICE_A
    outside = np.abs(centres[:, None] - (where + offset)[None]).min(axis=1) > 2 * SLICE_A
    figures["slices_without_layer"] = int(outside.sum())
    empty = f"surface_zero_weight={SURFACE_ZERO:g}"
    for way, more in (
        ("pixels", {}),
        ("dgp", {"method": "dgp"}),
        (f"pixels with {empty}", {"surface_zero_weight": SURFACE_ZERO}),
        (f"dgp with {empty}", {"method": "dgp", "surface_zero_weight": SURFACE_ZERO}),
    ):
        result, seconds = refined(path, **settings, **more)
        phase = np.angle(result.object[0]).astype(float)
        inner = phase[:, 32:-32, 32:-32] - phase[:, 32:-32, 32:-32].mean(axis=(1, 2), keepdims=True)
        power = (inner**2).mean(axis=(1, 2))
        figures[way] = {
            "outside": round(float(np.sqrt(power[outside].sum() / power.sum())), 3),
            "corr": score(truth_of(path), seen(result))["corr"],
            "message": result.message,
            "cpu_s": round(seconds, 1),
        }
    return figures


def tables(found: Figures) -> str:
    """All that was measured, as Markdown."""
    lines = [
        "| scan | e/Å² | pixels | networks | gain on patterns held out | CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        case, scan_name, dose = name.split("/")
        if case in ("dose", "size"):
            pixels, dgp = one["pixels"], one["dgp"]
            which = f"epoch {dgp['epoch']}, {dgp['gain']}" if dgp["epoch"] else f"pixels kept, {dgp['gain']}"
            which += "; warned" if dgp["warning"] else ""
            lines.append(
                f"| {scan_name} | {dose} | {pixels['corr']:.3f} | {dgp['corr']:.3f} | {which} |"
                f" {pixels['cpu_s']:.0f}, {dgp['cpu_s']:.0f} |"
            )
    return "\n".join([*lines, "", *sentences(found), ""])


def sentences(found: Figures) -> Sequence[str]:
    """What stands in no table."""
    said = []
    for name, one in found.items():
        case, scan_name, dose = name.split("/")
        if case == "null":
            said.append(
                f"- Wrong order, {scan_name}, {dose} e/Å²: highest ring of the correlation with the truth"
                f" {one['dgp']['highest_ring']} (pixels {one['pixels']['highest_ring']}; asked for:"
                f" below {HIGHEST_RING}), correlation {one['dgp']['corr']:.2f};"
                f" {'warned' if one['dgp']['warned'] else 'NOT warned'}."
            )
        if case == "pace":
            before, dgp, pixels = one["dgp"]["powers_over_truth"][2], one["dgp"], one["pixels"]
            said.append(
                f"- {scan_name}, {dose} e/Å²: power below {LOW_INVA} 1/Å over the truth's {before} after two sweeps,"
                f" {dgp['final_over_truth']} after {PACE_EPOCHS} epochs of the networks (correlation {dgp['corr']}),"
                f" {pixels['final_over_truth']} after as many more of the pixels ({pixels['corr']});"
                f" {HELD_POWER} of the final power after {dgp['epochs']} and {pixels['epochs']}."
            )
        if case == "depth":
            ways = "; ".join(
                f"{way} {figures['outside']} (correlation {figures['corr']})"
                for way, figures in one.items()
                if isinstance(figures, dict)
            )
            said.append(
                f"- 24 × 24 patterns of 48 × 48, {SLICES} slices of {SLICE_A:g} Å, {MODES} modes,"
                f" share of the phase outside the layers: {ways}."
            )
        if case == "size":
            said.append(f"- {scan_name}: {one['dgp']['reason']}; peak of the process {one['peak_MB']} MB.")
    return said


if __name__ == "__main__":
    main()
