"""A refinement as pictures: PNG with a scale bar, float TIFF for ImageJ, and HyperSpy signals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ptylive.engine.exports.hspy import write_hspy
from ptylive.engine.exports.tiff import write_tiff
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.snapshot import draw, png
from ptylive.schema import LiveMap
from ptylive.schema.files.atomic import replacing


def pictures(run: StoredRun) -> list[LiveMap]:
    """The phase summed over slices, its deviation, the phase of each slice, and each mode of the first probe."""
    phase, sampling = run.phase(), (run.pixel_A, run.pixel_A)
    found = {"object_phase": (phase.sum(axis=0), "rad")}
    if run.phase_deviation is not None:
        found["object_phase_deviation"] = run.phase_deviation, "rad"
    if run.slices > 1:
        found.update({f"slice_{number:03d}_phase": (slice_phase, "rad") for number, slice_phase in enumerate(phase)})
    found.update({f"probe_mode_{number}": (np.abs(mode) ** 2, "counts") for number, mode in enumerate(run.probe[0])})
    return [
        LiveMap(name, np.asarray(data, dtype=np.float32), units, sampling, len(run.positions_A), "refinement")
        for name, (data, units) in found.items()
    ]


def write_pngs(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write a PNG for each picture, as the page shows it, with its scale bar."""
    for picture in pictures(run):
        path = folder / f"{run.name}_{picture.name}.png"
        colours = ColourMap.MAGMA if picture.units == "rad" else ColourMap.GRAY
        finite = np.isfinite(picture.data)
        drawn = png(draw(np.where(finite, picture.data, 0), colours, visited=finite, sampling_A=picture.sampling_A))
        with replacing(path) as temporary:
            temporary.write_bytes(drawn)
        yield path


def write_tiffs(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write a float32 TIFF for each picture, with its scale."""
    for picture in pictures(run):
        path = folder / f"{run.name}_{picture.name}.tiff"
        write_tiff(path, picture.data, picture.sampling_A)
        yield path


def write_hspy_run(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write one `.hspy` with a signal for each picture."""
    path = folder / f"{run.name}.hspy"
    write_hspy(path, pictures(run))
    yield path
