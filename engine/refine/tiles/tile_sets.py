"""Checkpoints of a run on many workers: a file for each tile, and one that says which of them belong together.

``NAME.tiles`` names the last two whole sets with the SHA-256 of their files; it is replaced after they are written, so
that whatever a kill leaves, the sets it names are whole. No more than one tile is in memory at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptylive.engine.refine.run.checkpoint import FORMAT, Identity, of_tiles
from ptylive.schema.errors import RefinementError
from ptylive.schema.files.atomic import replacing

SETS = 2
"""Sets that are kept."""


@dataclass(frozen=True)
class TileSet:
    """States of all tiles after the same step."""

    folder: Path
    files: tuple[str, ...]
    """By number of the tile."""

    def read(self, tile: int) -> bytes:
        """Raises OSError."""
        return (self.folder / self.files[tile]).read_bytes()


class TileSets:
    """Those of one run. ``path``: the checkpoint's name on one machine."""

    def __init__(self, path: Path, tiles: int, identity: Identity) -> None:
        self._path, self._tiles, self._identity = path, tiles, identity
        self._sets: list[dict[str, Any]] = []
        self._serial = 0

    @property
    def index(self) -> Path:
        """The file that names the sets."""
        return of_tiles(self._path)

    @property
    def newest(self) -> TileSet | None:
        """Written by this run, or found."""
        return TileSet(self._path.parent, tuple(self._sets[0]["files"])) if self._sets else None

    def save(self, kept: Callable[[int], bytes]) -> None:
        """A new set; ``kept`` gives the state of a tile. Raises OSError, and whatever that raises."""
        self._serial += 1
        names = [f"{self._path.name}.{self._serial}.tile{tile}" for tile in range(self._tiles)]
        digests = []
        try:
            for tile, name in enumerate(names):
                data = kept(tile)
                with replacing(self._path.with_name(name)) as temporary:
                    temporary.write_bytes(data)
                digests.append(hashlib.sha256(data).hexdigest())
        except BaseException:
            self._remove(names)
            raise
        gone = self._sets[SETS - 1 :]
        self._sets = [{"serial": self._serial, "files": names, "sha256": digests}, *self._sets[: SETS - 1]]
        self._write_index()
        for one in gone:
            self._remove(one["files"])

    def load(self) -> str:
        """Take up the newest whole set there is; what is wrong with a newer one, in words.

        Raises RefinementError where it is of another refinement or cut, or where none is whole.
        """
        if not self.index.exists():
            return ""
        try:
            said = json.loads(self.index.read_text(encoding="utf-8"))
            tiles, sets = int(said["tiles"]), list(said["sets"])
            self._serial = max(int(one["serial"]) for one in sets)
        except (OSError, ValueError, LookupError, TypeError):
            raise self._damaged() from None
        other = self._identity.apart(said)
        if other:
            raise RefinementError(
                f"checkpoint {self.index} belongs to other {other}", "remove it, or start without --resume"
            )
        if tiles != self._tiles:
            raise RefinementError(f"checkpoint {self.index} is of {tiles} workers", f"resume with --workers {tiles}")
        self._sets = [one for one in sets if self._whole(one)]
        if not self._sets:
            raise self._damaged()
        return "" if len(self._sets) == len(sets) else "a checkpoint is damaged: went on from the one before"

    def _damaged(self) -> RefinementError:
        return RefinementError(f"checkpoint {self.index} is damaged", "remove it and start without --resume")

    def _whole(self, one: dict[str, Any]) -> bool:
        try:
            for name, digest in zip(one["files"], one["sha256"], strict=True):
                if hashlib.sha256(self._path.with_name(Path(name).name).read_bytes()).hexdigest() != digest:
                    return False
        except (OSError, LookupError, ValueError, TypeError):
            return False
        return len(one["files"]) == self._tiles

    def _write_index(self) -> None:
        belongs = {"data": self._identity.data, "settings": self._identity.settings}
        said = {"format": FORMAT, **belongs, "tiles": self._tiles, "sets": self._sets}
        with replacing(self.index) as temporary:
            temporary.write_text(json.dumps(said), encoding="utf-8")

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with suppress(OSError):
                self._path.with_name(Path(name).name).unlink(missing_ok=True)
