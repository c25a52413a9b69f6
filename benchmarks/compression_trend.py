"""Quality of an object against number and kind of masks: docs/compression.md.

    python -m benchmarks.compression_trend FILE [--kinds data zernike …] [--numbers 6 15 28 45] [--seeds 0 1 2]
                                           [--root] [--set KEY=VALUE …] [--lines OUT.jsonl]
    python -m benchmarks.compression_trend --picture OUT.png LINES.jsonl …

FILE is a scan of the zoo (`python -m benchmarks.zoo --cache DIR` leaves them there). Its patterns are projected on n
masks of the bright field and one of the dark field, the object is refined from the coefficients, and judged as in the
zoo (benchmarks/zoo/score.py). Each run prints one JSON line: masks, compression C (eq. 17), intact-information angle of
the bright field (eq. 18), correlation with the truth at the zoo's fixed blur. Kind "frames" refines from the frames;
"patterns" is the paper's own basis, patterns by Gram-Schmidt and nothing else, whereas ours ("data") begins with flat,
row and column. Only these two depend on the seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.score import Reconstruction, Truth, score
from ptylive.application.offline import read_dataset, reconstruct_file
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.bases.choice import BasisChoice, make_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.learnt import from_random_patterns
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema.preset import Preset
from ptylive.streamer.source import open_source

SAMPLE = 320
LEARNT = ("data", "patterns")
NAMES = {
    "zernike": "Zernike polynomials",
    "binning": "bins",
    "pca": "principal components",
    "data": "plane, then patterns",
    "patterns": "patterns (the paper's)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--kinds", nargs="+", default=["frames", *NAMES], choices=["frames", *NAMES])
    parser.add_argument("--numbers", nargs="+", type=int, default=[6, 15, 28, 45], help="masks of the bright field")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the patterns drawn")
    parser.add_argument("--root", action="store_true", help="project square roots, as the paper does for simulations")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the refinement")
    parser.add_argument("--lines", type=Path, help="file to which the JSON lines are added")
    parser.add_argument("--picture", type=Path, help="only draw the runs in the files of lines that are given")
    given = parser.parse_args()
    if given.picture is not None:
        draw([json.loads(line) for file in given.files for line in file.read_text().splitlines()], given.picture)
        return
    use_persistent_cache()
    preset = Preset.from_mapping(dict(pair.split("=", 1) for pair in given.set))
    scan = read(given.files[0])
    for kind in given.kinds:
        for number in given.numbers if kind != "frames" else [0]:
            for seed in given.seeds if kind in LEARNT else [0]:
                line = json.dumps(measured(given.files[0], scan, (kind, number, seed), preset, root=given.root))
                print(line, flush=True)
                if given.lines is not None:
                    with given.lines.open("a") as file:
                        file.write(line + "\n")


def read(path: Path) -> Dataset:
    """A scan of the zoo with the calibration it was made with, as the command line reads it."""
    calibration = reconstruct_file(path, {}).calibration
    with open_source(path) as source:
        return read_dataset(source, calibration)


def measured(path: Path, scan: Dataset, choice: tuple[str, int, int], preset: Preset, *, root: bool) -> dict[str, Any]:
    """One refinement, scored."""
    kind, number, seed = choice
    row: dict[str, Any] = {"set": path.stem, "kind": kind, "masks": number, "seed": seed, "root": root}
    dataset = scan
    if kind != "frames":
        compressor, sample = compressor_of(scan, choice, root=root)
        vectors = np.concatenate([compressor.vectors(part) for part in np.array_split(scan.patterns, 16)])
        dataset = replace(scan, patterns=vectors, masks=compressor.basis.masks, basis=compressor.words)
        row |= {"masks": compressor.basis.n_bright, "C": round(compressor.ratio, 1)}
        row["angle_deg"] = round(compressor.intact_angles_deg(sample)[0], 2)
    start = time.process_time()
    result = refine(dataset, preset, backend="cpu")
    return row | {"corr": round(judged(path, result), 4), "cpu_s": round(time.process_time() - start, 1)}


def compressor_of(scan: Dataset, choice: tuple[str, int, int], *, root: bool) -> tuple[Compressor, Any]:
    """The masks of a kind, and the sample of patterns by which they are judged (and from which some are learnt)."""
    kind, number, seed = choice
    calibration = scan.calibration
    radius = float(calibration.get("convergence_semiangle_mrad")) * 1e-3 / float(calibration.wavelength_A or 0)
    centre = (float(scan.beam_center_px[0]), float(scan.beam_center_px[1]))
    field = DetectorField(centre, radius / float(calibration.get("detector_pixel_invA")), ~scan.bad_pixels)
    drawn = np.random.default_rng([7, seed]).choice(len(scan.patterns), min(SAMPLE, len(scan.patterns)), replace=False)
    sample = scan.patterns[drawn]
    if kind != "patterns":
        basis = make_basis(BasisChoice(kind, number, 1, root), field, sample)
        return Compressor(basis, field, root), sample
    dark = make_basis(BasisChoice("binning", 1, 1, root), field).masks[-1:]
    values = np.sqrt(sample) if root else sample
    bright = np.zeros((number, *field.good.shape), np.float32)
    bright[:, field.bright] = from_random_patterns(values[:, field.bright].astype(float), number)
    return Compressor(MaskBasis("data", np.concatenate([bright, dark]), number), field, root), sample


def judged(path: Path, result: RefineResult) -> float:
    """Correlation of the refined phase with the truth."""
    rows, columns = result.object_sampling_A
    phase = np.angle(result.object[0]).astype(float)
    return float(score(Truth.read(path), Reconstruction(phase, (rows, columns), result.origin_A))["corr"])


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Correlation against the number of masks, a panel for each data set; seeds as a mean with their range."""
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys((row["set"], row["root"]) for row in rows if row["kind"] != "frames"))
    figure = Figure(figsize=(4.6 * len(sets), 3.6), layout="constrained")
    for panel, (name, root) in enumerate(sets):
        axes = figure.add_subplot(1, len(sets), panel + 1)
        for kind, label in NAMES.items():
            found: dict[int, list[float]] = defaultdict(list)
            for row in rows:
                if (row["set"], row["root"], row["kind"]) == (name, root, kind):
                    found[row["masks"]].append(row["corr"])
            if not found:
                continue
            numbers = sorted(found)
            means = np.array([np.mean(found[number]) for number in numbers])
            spread = np.array([[np.ptp([mean, edge(found[n])]) for n, mean in zip(numbers, means, strict=True)]
                               for edge in (min, max)])  # fmt: skip
            axes.errorbar(numbers, means, spread, marker="o", markersize=4, capsize=2, label=label)
        frames_corr = [row["corr"] for row in rows if (row["set"], row["kind"]) == (name, "frames")]
        if frames_corr:
            axes.axhline(frames_corr[0], color="grey", linestyle=":", label="frames")
        axes.set(
            title=name + (", square roots" if root else ""), xlabel="masks in the bright field", ylabel="correlation"
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
