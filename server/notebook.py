"""From a file to maps and a refined object in five lines, for notebooks and scripts (docs/notebook.md).

    from ptylive.server.notebook import open_scan

    scan = open_scan("scan.h5", energy_eV=80e3)
    maps = scan.reconstruct()
    maps.show("obf", "idpc")
    refined = scan.refine(epoch_max=20)
    refined.show()

The same code as ``ptylive reconstruct`` and ``ptylive refine``: the numbers are those of the command line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.imaging.render import METHODS
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.atomic import replacing
from ptylive.schema.model import Array, FloatArray

if TYPE_CHECKING:
    from ptylive.engine.refine.results.refinement_result import RefineResult
    from ptylive.server.offline import Reconstruction

SHOWN_PERCENTILES = (0.5, 99.5)
START_MAP = "obf"


def open_scan(path: str | Path, **values: Any) -> NotebookScan:
    """A recording; ``values`` are metadata that win over the file's (``energy_eV=80e3``, ``scan_step_A=0.4``).

    Raises InputFileError where it cannot be read, MetadataError for an unknown or impossible value.
    """
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.streamer.storage.source import open_source
    from ptylive.streamer.vetting.door import vet

    use_persistent_cache()
    vet(Path(path), values)
    with open_source(Path(path), values):
        return NotebookScan(Path(path), values)


@dataclass(frozen=True)
class Gallery:
    """Grey pictures side by side, as a notebook shows them."""

    pictures: Mapping[str, Array]

    def _repr_html_(self) -> str:
        shown = []
        for title, data in self.pictures.items():
            source = base64.b64encode(_png(_grey(data))).decode()
            image = f'<img style="height:20em;image-rendering:pixelated" src="data:image/png;base64,{source}"/>'
            shown.append(f"<figure><figcaption>{escape(title)}</figcaption>{image}</figure>")
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(shown)}</div>'

    def save(self, folder: str | Path) -> list[Path]:
        """Write every picture as ``<title>.png`` into a folder, which is made where there is none; what was written.

        Raises OSError where that cannot be.
        """
        written = []
        Path(folder).mkdir(parents=True, exist_ok=True)
        for title, data in self.pictures.items():
            target = Path(folder) / f"{title.split(',')[0]}.png"
            with replacing(target) as temporary:
                temporary.write_bytes(_png(_grey(data)))
            written.append(target)
        return written


class NotebookMaps(Mapping[str, LiveMap]):
    """Maps of a recording under their names; ``maps["obf"].data`` is the array, in ``maps["obf"].units``."""

    def __init__(self, made: Reconstruction) -> None:
        self._made = made
        self._maps = {live_map.name: live_map for live_map in made.rendering.maps}

    def __getitem__(self, name: str) -> LiveMap:
        return self._maps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    @property
    def calibration(self) -> Calibration:
        """The values the maps were made with, and where each came from."""
        return self._made.calibration

    @property
    def missing(self) -> Mapping[str, str]:
        """Maps that could not be made, with the reason."""
        return self._made.rendering.missing

    def show(self, *names: str) -> Gallery:
        """Pictures of some maps; of all without names. Raises MetadataError for a map that was not made."""
        for name in names:
            if name not in self._maps:
                reason = self.missing.get(name)
                raise MetadataError(f"no map {name!r}" + (f": {reason}" if reason else ""), f"made: {', '.join(self)}")
        return Gallery({f"{name}, {self[name].units}": self[name].data for name in names or self})


@dataclass(frozen=True)
class NotebookRefinement:
    """What a refinement came to."""

    result: RefineResult

    @property
    def phase(self) -> FloatArray:
        """Phase of the first object mode, (slices, y, x), rad."""
        return np.asarray(np.angle(self.result.object[0]), dtype=np.float32)

    def show(self) -> Gallery:
        """The phase, summed over the slices."""
        return Gallery({"phase, rad": self.phase.sum(axis=0)})


@dataclass(frozen=True)
class NotebookScan:
    """A recording and the metadata laid over it."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    def reconstruct(self, methods: Iterable[str] = METHODS) -> NotebookMaps:
        """All live maps, or some (``["obf", "com"]``). Raises MetadataError for an unknown method."""
        from ptylive.server.offline import reconstruct_file

        return NotebookMaps(reconstruct_file(self.path, self.values, methods))

    @cached_property
    def _start(self) -> NotebookMaps:
        return self.reconstruct([START_MAP])

    def refine(self, *, backend: str = "auto", threads: int = 1, **preset: Any) -> NotebookRefinement:
        """Refine object and probe; ``preset``: its settings by name (``num_slices=4, total_thickness_A=80``).

        Raises MetadataError for missing optics or an unknown setting, RefinementError where it cannot start.
        """
        from ptylive.engine.refine import refine
        from ptylive.schema.preset import Preset
        from ptylive.server.offline import refinable, start_guess
        from ptylive.streamer.storage.source import open_source

        wanted = Preset.from_mapping(preset)
        start = start_guess(self._start.get(START_MAP), self._start.calibration)
        with open_source(self.path, self.values) as source:
            dataset = refinable(source, self._start.calibration)
            return NotebookRefinement(refine(dataset, wanted, start=start, backend=backend, threads=threads))


def _grey(data: Array) -> Array:
    """Grey levels (rows, cols) uint8 between two percentiles."""
    low, high = np.percentile(data, SHOWN_PERCENTILES)
    scaled = (np.asarray(data, dtype=float) - low) / max(float(high - low), 1e-30)
    return np.asarray(255 * np.clip(scaled, 0, 1), dtype=np.uint8)


def _png(grey: Array) -> bytes:
    from ptylive.dashboard.snapshot import png

    return png(np.repeat(grey[..., None], 3, axis=2))
