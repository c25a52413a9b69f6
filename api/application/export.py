"""Export of maps: pictures for slides, floating-point data for other programs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import CommandError, LiveMap, MetadataError
from ptylive.schema.errors import did_you_mean
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import BoolArray


@dataclass(frozen=True)
class Export:
    """A map to be exported; ``limits`` of contrast None: 1st to 99th percentile."""

    live_map: LiveMap
    visited: BoolArray | None
    colour_map: str = "gray"
    limits: tuple[float, float] | None = None

    def write(self, stem: Path, formats: Iterable[str]) -> list[Path]:
        """Write `png` as displayed, with a scale bar; `tiff` and `hspy` with the data. Raises CommandError."""
        writers: Mapping[str, Callable[[Path], Path]] = {
            "png": self._png,
            "tiff": self._tiff,
            "hspy": self._hspy,
        }
        chosen = [str(name) for name in formats]
        for name in chosen:
            if name not in writers:
                raise CommandError(
                    f"cannot export {name!r}", f"choose from {', '.join(writers)}; save writes every map as HDF5"
                )
        try:
            return [writers[name](stem) for name in chosen]
        except OSError as error:
            raise _not_written(f"{stem.name}.{'/'.join(chosen)}", stem.parent, error) from None

    def _png(self, stem: Path) -> Path:
        from ptylive.pictures.colours import ColourMap
        from ptylive.pictures.sheet import greyed
        from ptylive.pictures.snapshot import draw, png

        if self.colour_map not in list(ColourMap):
            raise CommandError(f"unknown colour map {self.colour_map!r}", f"choose from {', '.join(ColourMap)}")
        colours = ColourMap(self.colour_map)
        picture = draw(
            self.live_map.data,
            colours,
            visited=self.visited,
            limits=self.limits,
            sampling_A=self.live_map.sampling_A,
        )
        doubt = self.live_map.doubt
        return written(named(stem, "png"), png(greyed(picture, doubt) if doubt else picture))

    def _tiff(self, stem: Path) -> Path:
        from ptylive.engine.exports.tiff import write_tiff

        path = named(stem, "tiff")
        write_tiff(path, self.live_map.data, self.live_map.sampling_A)
        return path

    def _hspy(self, stem: Path) -> Path:
        from ptylive.engine.exports.hspy import write_hspy

        path = named(stem, "hspy")
        write_hspy(path, [self.live_map])
        return path


def named(stem: Path, kind: str) -> Path:
    """Append a suffix to a stem. A dot in the stem belongs to the scan's name (``v1.2``) and is kept."""
    return stem.with_name(f"{stem.name}.{kind}")


def written(path: Path, content: bytes) -> Path:
    """Write a file, whole or not at all. Raises CommandError."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _not_written(path.name, path.parent, error) from None
    return path


def _not_written(name: str, folder: Path, error: OSError) -> CommandError:
    problem = f"{name} could not be written to {folder}: {error.strerror or error}"
    return CommandError(problem, "make room, or check the permissions of the folder")


MAP_FORMATS = ("png", "tiff", "hspy")


def chosen_maps(stored: StoredMaps, names: Sequence[str] | None, file: Path) -> list[LiveMap]:
    """Maps of a results file by name; None: all. Raises MetadataError for a missing map, and if there are none."""
    chosen = list(stored.maps) if names is None else list(names)
    for name in chosen:
        if name not in stored.maps:
            suggestion = did_you_mean(name, stored.maps)
            hint = f"it has {', '.join(stored.maps) or 'none'}"
            raise MetadataError(f"{file} has no map {name!r}", f"{suggestion} {hint}" if suggestion else hint)
    if not chosen:
        raise MetadataError(f"{file} holds no maps", f"ptylive reconstruct RECORDING -o {file} adds them")
    return [stored.maps[name] for name in chosen]


def map_file(live_map: LiveMap, folder: Path, kind: str) -> Path:
    """Path for a map. Its name may come from a file of unknown origin."""
    return named(folder / _plain(live_map.name), kind)


def export_maps(stored: StoredMaps, maps: Iterable[LiveMap], kind: str, folder: Path) -> Iterator[Path]:
    """Write each map as ``<folder>/<name>.<kind>`` in the colours of the page; yield each file once it is complete.

    Raises CommandError for a format not in MAP_FORMATS, and if a file cannot be written.
    """
    from ptylive.engine.imaging import registry

    colours = {description["name"]: str(description["colour_map"]) for description in registry.describe()}
    folder.mkdir(parents=True, exist_ok=True)
    for live_map in maps:
        stem = folder / _plain(live_map.name)
        yield from Export(live_map, stored.visited(live_map), colours.get(live_map.name, "gray")).write(stem, [kind])


def export_stem(recording: Path | None, folder: Path, series: str, name: str) -> Path:
    """Path for exports of a map: next to its recording, named after both. Never a path received over the network."""
    if recording is not None:
        return recording.with_name(f"{recording.stem}_{_plain(name)}")
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}_{_plain(series)}_{_plain(name)}"


def _plain(name: str) -> str:
    """A name that is valid and the same on every file system."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
