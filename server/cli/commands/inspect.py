"""``ptylive inspect``."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptylive.schema import Calibration, MetadataError, ScanHeader
from ptylive.schema.detector import Descan
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer, bar
from ptylive.server.cli.values import parse_assignments

if TYPE_CHECKING:
    from ptylive.engine.calibrate.distortion.reference import Reference
    from ptylive.streamer.source import FileSource

WANTED = {
    "scan_shape": "maps and refinement",
    "energy_eV": "phase maps and refinement",
    "convergence_semiangle_mrad": "phase maps and refinement",
    "scan_step_A": "phase maps and refinement",
}
"""Metadata that cannot be estimated from the data, and what they are needed for."""

EXAMPLES = """
ptylive inspect scan.h5
ptylive inspect scan.npy --set scan_shape=64,64 --set energy_eV=80e3
ptylive inspect vacuum.h5 --descan   # for --set descan_px=… of scans of the same field
ptylive inspect powder.h5 --distortion --rings
ptylive inspect grating.h5 --distortion --square   # for --set distortion=… of scans with the same projector
"""


def inspect(
    file: Annotated[Path, typer.Argument(help="scan file, native or foreign", readable=False)],
    descan: Annotated[
        bool, typer.Option("--descan", help="also measure the descan of the pattern; reads all frames, best in vacuum")
    ] = False,
    distortion: Annotated[
        bool, typer.Option("--distortion", help="measure the distortion of the patterns from spots, rings or the disc")
    ] = False,
    square: Annotated[
        bool,
        typer.Option("--square", help="with --distortion: the spots form a square lattice, as from a cross grating"),
    ] = False,
    rings: Annotated[
        bool, typer.Option("--rings", help="with --distortion: use the rings of a powder or an amorphous film")
    ] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show how a file is understood and what is missing."""
    from ptylive.application.offline import without
    from ptylive.application.planning import concerns
    from ptylive.application.remarks.of_scan import further_remarks, implausible_values
    from ptylive.schema.metadata import to_attributes
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    if rings and square:
        raise MetadataError("--square and --rings exclude each other", "give one of them")
    if (rings or square) and not distortion:
        option = "--rings" if rings else "--square"
        raise MetadataError(f"{option} says what --distortion is measured on", "add --distortion")
    values = parse_assignments(settings or ())
    vet(file, values)
    with open_source(file, values) as source:
        header = source.header
        effective = without(header, values)
        questions = implausible_values(effective, header)
        if descan and header.detector.descan_px is not None:
            raise MetadataError(f"{file}: its descan_px is already given, and is used as given", "leave out --descan")
        given = {name: _plain(value) for name, value in to_attributes(header).items()}
        outcome: dict[str, Any] = {
            "file": str(file),
            "series": header.series,
            "frames": source.frame_count,
            "received": int(source.received.sum()),
            "scan_shape": list(header.scan.shape or ()),
            "detector_shape": list(header.detector_shape),
            "dtype": header.detector.dtype,
            **_compression(header),
            **given,
            "arrays": sorted(header.arrays),
            "notes": [*source.notes, *further_remarks(effective, header, Calibration())],
            "missing": [f"{name} ({needed})" for name, needed in WANTED.items() if name not in given],
            "estimated": _estimated(header, given),
            "questioned": [*questions, *concerns(header)],
        }
        if descan:
            outcome |= _descan(source, values, quiet=as_json)
        if distortion:
            outcome |= _distortion(source, "rings" if rings else "square" if square else "any")
    answer(outcome, as_json=as_json)


def _descan(source: FileSource, values: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Measure the descan in the form used for other scans of the same field, in pixels; zeros if none is seen.

    The RMS of jumps between lines belongs to this scan only.
    """
    from ptylive.application.offline import reconstruct_source
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    with bar(f"measuring {source.path.name}", quiet=quiet) as shown:
        found = reconstruct_source(source, values, ["bf"], on_progress=shown.update).calibration.entries.get(
            "descan_px"
        )
    if found is None:
        return {"descan_px": [0.0] * 10, "descan_uncertainty_px": None}
    descan = Descan.of(found.value)
    numbers = [round(float(number), 4) for number in descan.smooth.numbers]
    jumps = (
        {"line_jumps_px": round(math.sqrt(fmean(r * r + c * c for r, c in descan.lines)), 4)} if descan.lines else {}
    )
    return {"descan_px": numbers, "descan_uncertainty_px": found.uncertainty, **jumps}


def _distortion(source: FileSource, on: Reference) -> dict[str, Any]:
    """Measure the distortion in the form used for other scans with the same detector, in pixels."""
    from ptylive.application.analysis.distortion_files import distortion_of_source

    found = distortion_of_source(source, on)
    return {
        "distortion": list(found.numbers),
        "distortion_measured_on": found.on,
        "distortion_left_px": round(found.left_px, 3),
    }


def _compression(header: ScanHeader) -> dict[str, Any]:
    """Describe the numbers of a compressed scan, and the pixels per number; empty for frames."""
    basis = header.basis
    if basis.is_raw:
        return {}
    return {
        "basis": f"{basis.kind}:{basis.n_bright}+{basis.n_dark}",
        "of": basis.of,
        "extra": list(basis.extra),
        "compression": math.prod(header.detector_shape) / (basis.n_bright + basis.n_dark + len(basis.extra)),
    }


def _estimated(header: ScanHeader, given: dict[str, Any]) -> list[str]:
    """List what will be estimated from the data because it was not given, and what stays at a default, and why."""
    from ptylive.engine.calibrate.scan import LEAST_POINTS

    shape = header.scan.shape or (0, 0)
    small = math.prod(shape) < LEAST_POINTS or min(shape) <= 2
    optics = [name for name in ("scan_step_A", "energy_eV", "convergence_semiangle_mrad") if name not in given]
    few = f"the scan has fewer than {LEAST_POINTS} points, or fewer than 3 rows or columns"
    few = few if header.scan.shape else "needs scan_shape"

    def fallback(default: str, lacking: list[str]) -> str:
        reason = few if small else f"needs {', '.join(lacking)}" if lacking else ""
        return f" (taken as {default}: {reason})" if reason else ""

    step = [] if "scan_step_A" in given else ["scan_step_A"]
    defaults = {"beam_center_px": "", "rotation_deg": fallback("0", step), "detector_transform": fallback("none", step)}
    names = [f"{name}{default}" for name, default in defaults.items() if name not in given]
    if not {"detector_pixel_mrad", "detector_pixel_invA"} & set(given):
        names.append("detector_pixel_invA (from the disc radius)")
    if "C10" not in given:
        names.append(f"defocus_A and astigmatism_A{fallback('0', optics)}")
    return names


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
