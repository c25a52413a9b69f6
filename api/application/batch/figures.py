"""What a batch shows of a finished scan, read from its results file: two pictures and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptylive.application.comparison import ComparedPicture, compare
from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.pictures.sheet import Cell, drawn
from ptylive.pictures.snapshot import png
from ptylive.schema.files.atomic import replacing

SIDE_PX = 160
FOLDER = "thumbnails"
MAP, OBJECT = "map", "object"


@dataclass(frozen=True)
class Figures:
    """Figures of a scan. information_limit_A: of the displayed map; None if it has none."""

    map_shown: str
    information_limit_A: float | None


def draw(results: Path, wanted: str, run: str, folder: Path, name: str) -> Figures:
    """Write the thumbnails of a scan: a map (``wanted``, or the first one) and the refined phase on its field.

    Raises InputFileError, MetadataError for a results file that lacks them, OSError.
    """
    stored = _maps(results)
    if not stored:
        return Figures("", None)
    chosen = wanted if wanted in stored else next(iter(stored))
    shown = compare(results, [chosen], [run]).shown
    for kind, picture in ((MAP, shown[0]), (OBJECT, shown[-1])):
        with replacing(thumbnail(folder, name, kind)) as temporary:
            temporary.write_bytes(_small(picture))
    return Figures(chosen, stored[chosen])


def thumbnail(folder: Path, name: str, kind: str) -> Path:
    """Path of a scan's picture."""
    return folder / FOLDER / f"{name}-{kind}.png"


def _small(shown: ComparedPicture) -> bytes:
    return png(drawn(Cell(shown.data, shown.label, (), shown.colour_map, shown.visited, shown.pixel_A), SIDE_PX))


def _maps(results: Path) -> dict[str, float | None]:
    """Maps of a results file, with the period at which signal and noise are equal, if it is known."""
    import h5py

    try:
        with h5py.File(results, "r") as file:
            limits = {name: dataset.attrs.get("information_limit_A") for name, dataset in file.get("maps", {}).items()}
    except FAULTS as error:
        raise damaged(results, error) from None
    return {name: None if limit is None else float(limit) for name, limit in limits.items()}
