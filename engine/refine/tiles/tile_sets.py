"""Checkpoints of a run on many workers: one file per tile, and an index of the files that belong together.

``NAME.tiles`` lists the last two complete sets with the SHA-256 of their files. It is replaced after they are written,
so the sets it lists are complete whenever the program is killed. At most one tile is in memory at a time.
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
"""Number of sets that are kept."""


@dataclass(frozen=True)
class TileSet:
    """States of all tiles after the same step."""

    folder: Path
    files: tuple[str, ...]
    """Files by tile number."""

    def read(self, tile: int) -> bytes:
        """Return the state of a tile. Raises OSError."""
        return (self.folder / self.files[tile]).read_bytes()


class TileSets:
    """The sets of one run. ``path``: name of the checkpoint on one machine."""

    def __init__(self, path: Path, tiles: int, identity: Identity) -> None:
        self._path, self._tiles, self._identity = path, tiles, identity
        self._sets: list[dict[str, Any]] = []
        self._serial = 0

    @property
    def index(self) -> Path:
        """The file that lists the sets."""
        return of_tiles(self._path)

    @property
    def newest(self) -> TileSet | None:
        """The newest set, written by this run or found."""
        return TileSet(self._path.parent, tuple(self._sets[0]["files"])) if self._sets else None

    def save(self, state_of_tile: Callable[[int], bytes]) -> None:
        """Write a new set; ``state_of_tile`` returns the state of a tile. Raises OSError, and whatever that raises."""
        self._serial += 1
        names = [f"{self._path.name}.{self._serial}.tile{tile}" for tile in range(self._tiles)]
        digests = []
        try:
            for tile, name in enumerate(names):
                data = state_of_tile(tile)
                with replacing(self._path.with_name(name)) as temporary:
                    temporary.write_bytes(data)
                digests.append(hashlib.sha256(data).hexdigest())
        except BaseException:
            self._remove(names)
            raise
        outdated = self._sets[SETS - 1 :]
        self._sets = [{"serial": self._serial, "files": names, "sha256": digests}, *self._sets[: SETS - 1]]
        self._write_index()
        for entry in outdated:
            self._remove(entry["files"])

    def load(self) -> str:
        """Load the newest complete set; return a description of faults in newer ones.

        Raises RefinementError if it belongs to another refinement or cut, or if no set is complete.
        """
        if not self.index.exists():
            return ""
        try:
            content = json.loads(self.index.read_text(encoding="utf-8"))
            tiles, sets = int(content["tiles"]), list(content["sets"])
            self._serial = max(int(entry["serial"]) for entry in sets)
        except (OSError, ValueError, LookupError, TypeError):
            raise self._damaged() from None
        difference = self._identity.apart(content)
        if difference:
            raise RefinementError(
                f"checkpoint {self.index} belongs to other {difference}",
                "repeat the command that wrote it, remove it, or start without --resume",
            )
        if tiles != self._tiles:
            raise RefinementError(
                f"checkpoint {self.index} belongs to a run with {tiles} workers", f"resume with --workers {tiles}"
            )
        self._sets = [entry for entry in sets if self._is_complete(entry)]
        if not self._sets:
            raise self._damaged()
        return "" if len(self._sets) == len(sets) else "a checkpoint is damaged: continued from the previous one"

    def _damaged(self) -> RefinementError:
        return RefinementError(f"checkpoint {self.index} is damaged", "remove it and start without --resume")

    def _is_complete(self, entry: dict[str, Any]) -> bool:
        try:
            for name, digest in zip(entry["files"], entry["sha256"], strict=True):
                if hashlib.sha256(self._path.with_name(Path(name).name).read_bytes()).hexdigest() != digest:
                    return False
        except (OSError, LookupError, ValueError, TypeError):
            return False
        return len(entry["files"]) == self._tiles

    def _write_index(self) -> None:
        belongs = {"data": self._identity.data, "settings": self._identity.settings}
        content = {"format": FORMAT, **belongs, "tiles": self._tiles, "sets": self._sets}
        with replacing(self.index) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with suppress(OSError):
                self._path.with_name(Path(name).name).unlink(missing_ok=True)
