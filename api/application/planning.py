"""Figures of an experiment from a few numbers, or from the metadata of a scan file (docs/planning.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.schema import Detector, MetadataError, Scan, ScanHeader
from ptylive.schema.basis import Basis
from ptylive.schema.errors import brief
from ptylive.schema.metadata import check_given_once, flat_name, overlay, typed
from ptylive.schema.plausible import PLANNED, understood
from ptylive.schema.scan import two_whole_numbers
from ptylive.streamer.detector_arrays import given_path

if TYPE_CHECKING:
    from ptylive.engine.planning.plan import Plan

MOST_DETECTOR_PX = 8192
"""Largest side of a detector: larger patterns cannot be received either."""
OTHER_NAME = {"detector_pixel_mrad": "detector_pixel_invA", "detector_pixel_invA": "detector_pixel_mrad"}
"""Two names of the same quantity."""
OF_THE_SCAN = ("scan_shape", "flyback_frames", "skip_first", "repeats")
"""Metadata that must fit the frames of a file, but need not in a plan."""


def plan(source: str | Path | None = None, *, measure_time: bool = False, **values: Any) -> Plan:
    """Sampling, overlap, dose, depth, memory and time of an experiment, before it is done (docs/planning.md).

    source: a scan file, of which only the description is read; None for an experiment given by numbers alone. values:
    names and units of docs/conventions.md, as numbers or text with a unit; they take precedence over the file's. In
    addition ``detector_shape`` (pixels), ``beam_current_pA`` or ``dose_e_per_A2``, and ``thickness_A``. measure_time:
    refine a few patterns here, to predict the time for all of them. Raises MetadataError for
    an unknown name and for an impossible or unlikely value, InputFileError for a file that cannot be read.

    >>> import ptylive
    >>> made = ptylive.plan(energy_eV="80 keV", convergence_semiangle_mrad=25, scan_step_A=0.5, defocus_A="10 nm")
    >>> print(f"{made['overlap'].value:.2f}", made["overlap"].verdict)
    0.93 good
    """
    from ptylive.engine.memory import available_bytes
    from ptylive.engine.planning.experiment import Experiment
    from ptylive.engine.planning.plan import Plan

    if source is None and not values:
        raise MetadataError(
            "nothing is known about the experiment", "give a scan file, or energy_eV and whatever else is known"
        )
    if source is not None and not isinstance(source, str | Path):
        raise MetadataError(f"source = {brief(source)} is not a path", "give a file, or numbers alone")
    conditions = {
        name: understood(name, value) for name, value in values.items() if name in PLANNED and value is not None
    }
    if {"beam_current_pA", "dose_e_per_A2"} <= set(conditions):
        raise MetadataError("beam_current_pA and dose_e_per_A2 have the same meaning", "give one of them")
    shape = values.get("detector_shape")
    named = {name: value for name, value in values.items() if name not in (*PLANNED, "detector_shape")}
    numbers = _numbers(named)
    header = _blank() if source is None else _of_file(given_path(source), numbers)
    header = overlay(header, numbers, "plan") if numbers else header
    if shape is not None:
        header = _with_detector(header, _two_pixels(shape), centred="beam_center_px" not in numbers)
    return Plan.of(Experiment(header, **conditions, free_bytes=available_bytes(), timed=measure_time))


def concerns(header: ScanHeader) -> list[str]:
    """Concerns of a plan of a scan, one sentence each: about its optics, step and detector, and this machine."""
    from ptylive.engine.memory import available_bytes
    from ptylive.engine.planning.experiment import Experiment
    from ptylive.engine.planning.figure import Verdict
    from ptylive.engine.planning.plan import Plan

    planned = Plan.of(Experiment(header, free_bytes=available_bytes()))
    doubtful = (figure for figure in planned.figures if figure.verdict in (Verdict.QUESTIONED, Verdict.BAD))
    return [f"{figure.title} {figure.text} ({figure.verdict}): {figure.remedy}" for figure in doubtful]


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata under flat names in the units of their fields. Raises MetadataError for values to be confirmed."""
    given = typed(values)
    check_given_once(given)
    numbers = {flat_name(name): value for name, value in given.items()}
    return {**{OTHER_NAME[name]: None for name in numbers if name in OTHER_NAME}, **numbers}


def _blank() -> ScanHeader:
    """An experiment about which nothing is known."""
    return ScanHeader(uid="", series="", frames=0, scan=Scan())


def _of_file(path: Path, numbers: Mapping[str, Any]) -> ScanHeader:
    """The description of a scan file; values that are replaced need not be valid in it."""
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    settings = {name: value for name, value in numbers.items() if name not in OF_THE_SCAN}
    vet(path, settings)
    with open_source(path, settings) as source:
        return source.header


def _two_pixels(value: Any) -> tuple[int, int]:
    """Rows and columns of a detector. Raises MetadataError."""
    shape = two_whole_numbers(value if isinstance(value, str) or np.ndim(value) else (value, value))
    if shape is None:
        raise MetadataError(f"detector_shape {brief(value)} is not two whole numbers", "give ROWS,COLUMNS")
    if not all(1 <= side <= MOST_DETECTOR_PX for side in shape):
        raise MetadataError(
            f"detector_shape = {shape[0]} x {shape[1]} is impossible", f"it can be from 1 to {MOST_DETECTOR_PX} pixels"
        )
    return shape


def _with_detector(header: ScanHeader, shape: tuple[int, int], *, centred: bool) -> ScanHeader:
    """The scan on a detector of the given size, with the beam in the middle unless a position is given."""
    changes: dict[str, Any] = {"shape": shape}
    if shape == header.detector.shape:
        return header
    if centred:
        changes["beam_center_px"] = None
    detector: Detector = header.detector.model_copy(update=changes)
    return replace(header, detector=detector, basis=Basis())
