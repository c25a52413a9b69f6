"""The distortion measured on one scan, for others of the same detector: ``--set distortion=rings:powder.h5``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptylive.schema import InputFileError

if TYPE_CHECKING:
    from ptylive.engine.calibrate.distortion.reference import FoundDistortion, Reference
    from ptylive.streamer.source import FileSource


def distortion_of_text(text: str) -> list[float]:
    """18 numbers ``distortion`` from FILE or WHAT:FILE, WHAT being ``lattice``, ``square``, ``rings`` or ``disc``.

    Raises InputFileError for a file that cannot be read or holds coefficients, MetadataError for one that does not show
    the reference.
    """
    from ptylive.engine.calibrate.distortion.reference import REFERENCES
    from ptylive.streamer.source import open_source
    from ptylive.streamer.vetting.whole_file import vet

    first, _, path_text = text.partition(":")
    reference: Reference = next((word for word in REFERENCES if path_text and word == first), "any")
    path = Path(path_text if reference != "any" else text)
    vet(path)
    with open_source(path, {"distortion": 0}) as source:
        return list(distortion_of_source(source, reference).numbers)


def distortion_of_source(source: FileSource, on: Reference) -> FoundDistortion:
    """Distortion from the mean of a sample of an open scan of frames; numbers to six digits.

    Raises InputFileError for coefficients, MetadataError if the reference is not found in the patterns.
    """
    from ptylive.engine.bad_pixels import bad_pixels
    from ptylive.engine.calibrate.bad_pixels import BadPixels
    from ptylive.engine.calibrate.distortion.reference import find_distortion
    from ptylive.engine.compression import sample_numbers

    header = source.header
    if not header.basis.is_raw:
        raise InputFileError(f"{source.path} holds coefficients", "give the frames they were made from")
    counts = header.readout.counts(source.frames(sample_numbers(source)))[0]
    mean = counts.mean(axis=0, dtype=float)
    distortion = find_distortion(mean, bad_pixels(BadPixels().look(header, mean, len(counts))), on)
    return replace(distortion, numbers=tuple(round(number, 6) for number in distortion.numbers))
