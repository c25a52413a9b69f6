"""Results of the measurements as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.dgp.measures import HELD_POWER, LOW_INVA, MODES, PACE_EPOCHS, PIXEL_EPOCHS, SLICE_A, SLICES, Figures

HIGHEST_RING = 0.1
MARGIN = 0.01


def tables(found: Figures) -> str:
    """Tables of all results."""
    parts = [compared(found), halves(found), pace(found), sentences(found)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def of_case(found: Figures, *cases: str) -> Iterator[tuple[str, str, Any]]:
    """Scan name, dose and figures of the measurements under these names."""
    for name, figures in found.items():
        case, scan_name, dose = name.split("/")
        if case in cases:
            yield scan_name, dose, figures


def compared(found: Figures) -> list[str]:
    """Correlation with the truth."""
    rows = [
        "| scan | e/Å² | pixels | networks | gain on patterns held out | CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    differences = []
    for scan_name, dose, each in of_case(found, "dose", "strangers", "size"):
        pixels, dgp = each["pixels"], each["dgp"]
        outcome = f"epoch {dgp['epoch']}, {dgp['gain']}" if dgp["epoch"] else f"pixels kept, {dgp['gain']}"
        outcome += f"; bands {dgp['bands']}" if dgp.get("bands") else ""
        outcome += "; warned" if dgp["warning"] else ""
        rows.append(
            f"| {scan_name} | {dose} | {pixels['corr']:.3f} | {dgp['corr']:.3f} | {outcome} |"
            f" {pixels['cpu_s']:.0f}, {dgp['cpu_s']:.0f} |"
        )
        differences.append(dgp["corr"] - pixels["corr"])
    if not differences:
        return []
    worse, better = (sum(sign * each > MARGIN for each in differences) for sign in (-1, 1))
    summary = (
        f"Of {len(differences)} scans networks are more than {MARGIN} below pixels in {worse}, above by as much"
        f" in {better}; mean {mean(differences):+.3f}, lowest {min(differences):+.3f}."
    )
    return [*rows, "", summary]


def mean(values: Iterable[float]) -> float:
    """Mean of some numbers."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def halves(found: Figures) -> list[str]:
    """Information limits."""
    rows = [
        "| halves of the dose of | e/Å² of both | limit, 1/Å: pixels | networks | mean correlation to 1 1/Å |",
        "| --- | --- | --- | --- | --- |",
    ]
    first = len(rows)
    for scan_name, dose, figures in of_case(found, "halves"):
        limits = [
            f"{method['limit_invA']} ({method['from_to_invA'][0]} to {method['from_to_invA'][1]})"
            for method in figures.values()
        ]
        means = ", ".join(str(method["mean_to_1_invA"]) for method in figures.values())
        unchanged = 2 - sum(figures["dgp"]["taken"])
        limits[1] += f"; pixels kept in {unchanged}" if unchanged else ""
        rows.append(f"| {scan_name} | {dose} | {limits[0]} | {limits[1]} | {means} |")
    return rows if len(rows) > first else []


def pace(found: Figures) -> list[str]:
    """Power at low frequencies over epochs."""
    rows = [
        f"| power below {LOW_INVA} 1/Å of | e/Å² | after two sweeps | pixels: share of the truth's, correlation |"
        f" networks | epochs to {HELD_POWER} of the truth's: pixels, networks | of their own: pixels, networks |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    first = len(rows)
    for scan_name, dose, each in of_case(found, "pace"):
        pixels, dgp = each["pixels"], each["dgp"]
        shares = [f"{method['final_over_truth']}, {method['corr']:.3f}" for method in (pixels, dgp)]
        epochs = [method["epochs_to_truth"] for method in (pixels, dgp)]
        limits = (f"not in {PIXEL_EPOCHS}", f"not in {PACE_EPOCHS}")
        to_truth = ", ".join(limit if each is None else str(each) for each, limit in zip(epochs, limits, strict=True))
        to_own = f"{pixels['epochs_to_own']}, {dgp['epochs_to_own']}"
        start = pixels["begun_over_truth"]
        rows.append(f"| {scan_name} | {dose} | {start} | {shares[0]} | {shares[1]} | {to_truth} | {to_own} |")
    return rows if len(rows) > first else []


def sentences(found: Figures) -> list[str]:
    """Results that are in no table."""
    lines = []
    for scan_name, dose, case in of_case(found, "null"):
        pixels, dgp = case["pixels"], case["dgp"]
        lines.append(
            f"- Wrong order, {scan_name}, {dose} e/Å²: rings of the correlation with the truth, weighted by what they"
            f" hold, {dgp['mean_of_rings']} (pixels {pixels['mean_of_rings']}), the highest {dgp['highest_ring']}"
            f" ({pixels['highest_ring']}; asked for: below {HIGHEST_RING}; of unrelated pictures 95 of 100 are below"
            f" {dgp['chance_95']}); {'warned' if dgp['warned'] else 'NOT warned'}."
        )
    for _, _, case in of_case(found, "depth"):
        methods = "; ".join(
            f"{method} {figures['outside']} (correlation {figures['corr']})"
            for method, figures in case.items()
            if isinstance(figures, dict)
        )
        lines.append(
            f"- 24 × 24 patterns of 48 × 48, {SLICES} slices of {SLICE_A:g} Å, {MODES} modes,"
            f" share of the phase outside the layers: {methods}."
        )
    for scan_name, _, case in of_case(found, "size"):
        lines.append(f"- {scan_name}: {case['dgp']['reason']}; peak of the process {case['peak_MB']} MB.")
    return lines
