"""Simulate a recording from settings: a native file that includes the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptylive.application.conversion import write_scan
from ptylive.application.outputs import OTHER_NAME, check_hdf5_file
from ptylive.schema import InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import LIBVER, for_hdf5
from ptylive.schema.files.small_files import read_text
from ptylive.schema.model import Array
from ptylive.schema.settings_text import MAX_TOML, read_toml
from ptylive.schema.simulation.settings import SimulationSettings

TRUTH = "truth"
PACKED_BYTES = 4096
"""Arrays larger than this are compressed."""


@dataclass(frozen=True)
class SimulationSummary:
    """Summary of a written simulation."""

    path: Path
    frames: int
    missing: int
    """Number of frames that never arrived."""
    electrons_per_pattern: float
    detected_fraction: float
    model_pixels: int
    slices: int
    full_pixels: int
    """Number of saturated pixel readings."""


def read_settings(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputFileError, MetadataError."""
    return read_toml(read_text(path, MAX_TOML), str(path))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings, later ones taking precedence, whether a group is a table, a prefix or left out."""
    from ptylive.schema.simulation.settings import located

    out: dict[str, Any] = {}
    for layer in layers:
        out |= located(layer)
    return out


def simulate_file(
    target: Path,
    settings: SimulationSettings,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> SimulationSummary:
    """Simulate a scan and write it, whole or not at all.

    Raises InputFileError if the file already exists and ``overwrite`` is not set, if it cannot be written, or for a
    structure that cannot be read; MetadataError for impossible settings; OSError for a full disk.
    """

    def check() -> None:
        check_target(target, settings, overwrite=overwrite)

    check()
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.simulation.simulated_scan import SimulatedScan
    from ptylive.engine.simulation.simulated_tilts import SimulatedTilts

    kind = SimulatedTilts if settings.tilts.beam == "parallel" else SimulatedScan
    scan = kind.of(settings, target)
    with replacing(target, check) as temporary:
        written = write_scan(temporary, scan, on_progress)
        write_truth(temporary, *scan.truth())
    return SimulationSummary(
        target,
        written.frames,
        scan.header.frames - written.frames,
        settings.electrons_per_pattern,
        scan.detected_fraction,
        scan.window.size,
        scan.specimen.slices,
        scan.full_pixels,
    )


def check_target(target: Path, settings: SimulationSettings, *, overwrite: bool) -> None:
    """Raise InputFileError if a simulation cannot, or must not, be written."""
    structure = settings.specimen.structure_file
    check_hdf5_file(target, [Path(structure)] if structure else [])
    if target.exists() and not overwrite:
        raise InputFileError(f"{target} exists", f"{OTHER_NAME}, or overwrite it with --overwrite (overwrite=True)")


def write_truth(path: Path, arrays: Mapping[str, Array], attributes: Mapping[str, Any]) -> None:
    """Add the group ``/truth`` to a recording."""
    from importlib.metadata import version

    import h5py

    with for_hdf5(path, "r+") as plain_path, h5py.File(plain_path, "r+", libver=LIBVER) as file:
        group = file.create_group(TRUTH)
        for name, array in arrays.items():
            packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            group.create_dataset(name, data=array, **(packed if array.nbytes > PACKED_BYTES else {}))
        group.attrs.update({**attributes, "simulator": f"ptylive {version('ptylive')}"})
