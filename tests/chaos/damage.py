"""Untrusted files, dropped into the recording folder; all their names begin with ``damaged_``."""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

PREFIX = "damaged_"
ATTRIBUTE_LOOP = [
    Path(os.environ.get("PTYLIVE_SHARED_DATA", "")) / "damaged" / "attribute_loop.h5",
    Path(__file__).resolve().parents[3] / "shared" / "data" / "damaged" / "attribute_loop.h5",
]


def drop(folder: Path, what: str, seed: int) -> str:
    """Put a damaged file there; return its name, empty if there was nothing to make it from."""
    path = folder / f"{PREFIX}{seed}.h5"
    try:
        return made.name if (made := MAKERS[what](path, random.Random(seed))) is not None else ""
    except OSError:
        return ""


def _newest(folder: Path, pattern: str) -> Path | None:
    found = [path for path in folder.glob(pattern) if not path.name.startswith((PREFIX, ".")) and path.is_file()]
    with suppress(OSError):
        return max(found, key=lambda path: path.stat().st_mtime, default=None)
    return None


def _copy(pattern: str, ending: str, spoil: Callable[[bytearray, random.Random], bytes]) -> Callable[..., Path | None]:
    def make(path: Path, chance: random.Random) -> Path | None:
        original = _newest(path.parent, pattern)
        if original is None:
            return None
        path = path.with_name(path.stem + ending)
        path.write_bytes(spoil(bytearray(original.read_bytes()), chance))
        return path

    return make


def _flipped(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 3, 50))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data) + 1)])


def _attribute_loop(path: Path, _chance: random.Random) -> Path | None:
    """Flip one bit that makes HDF5 read an attribute forever."""
    for original in ATTRIBUTE_LOOP:
        if original.is_file():
            path.write_bytes(original.read_bytes())
            return path
    return None


def _empty(path: Path, _chance: random.Random) -> Path:
    path.touch()
    return path


def _text(path: Path, _chance: random.Random) -> Path:
    path.write_text("not HDF5\n" * 1000, encoding="utf-8")
    return path


def _dangling_link(path: Path, chance: random.Random) -> Path:
    path = path.with_suffix(chance.choice((".h5", ".journal")))
    path.symlink_to(path.parent / "nowhere")
    return path


def _link_loop(path: Path, chance: random.Random) -> Path:
    path = path.with_suffix(chance.choice((".h5", ".journal")))
    path.symlink_to(path)
    return path


def _folder(path: Path, chance: random.Random) -> Path:
    path = path.with_suffix(chance.choice((".h5", ".journal")))
    path.mkdir()
    return path


def _fifo(path: Path, _chance: random.Random) -> Path:
    os.mkfifo(path)
    return path


def _fifo_journal(path: Path, chance: random.Random) -> Path:
    return _fifo(path.with_suffix(".journal"), chance)


def _odd_hdf5(path: Path, chance: random.Random) -> Path:
    """A valid HDF5 file that is nothing like a recording."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.full((3, 4), np.nan)) if chance.random() < 0.5 else file.create_group(
            "data"
        )
        file.create_group("metadata").attrs.update({"uid": [1, 2], "scan_shape": "many", "scan_step_A": np.nan})
        file["loop"] = h5py.SoftLink("/loop")
        file.create_group("maps").create_dataset("obf", data=np.full((4, 4), np.nan))
        file.create_dataset("refinements", data=7)
    return path


def _huge_sparse(path: Path, _chance: random.Random) -> Path:
    """A terabyte of nothing."""
    with path.open("wb") as file:
        file.write(b"\x89HDF\r\n\x1a\n")
        file.truncate(2**40)
    return path


def _odd_name(path: Path, _chance: random.Random) -> Path:
    path = path.with_name(f"{PREFIX}<script>alert(1)</script>\n'; \udcff.h5".replace("/", "_"))
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    return path


MAKERS: dict[str, Callable[[Path, random.Random], Path | None]] = {
    "flipped_recording": _copy("*[!s].h5", ".h5", _flipped),
    "flipped_results": _copy("*_results.h5", "_results.h5", _flipped),
    "flipped_journal": _copy("*.journal", ".journal", _flipped),
    "cut_recording": _copy("*[!s].h5", ".h5", _cut),
    "cut_results": _copy("*_results.h5", "_results.h5", _cut),
    "attribute_loop": _attribute_loop,
    "empty": _empty,
    "text": _text,
    "dangling_link": _dangling_link,
    "link_loop": _link_loop,
    "folder": _folder,
    "fifo": _fifo,
    "fifo_journal": _fifo_journal,
    "odd_hdf5": _odd_hdf5,
    "huge_sparse": _huge_sparse,
    "odd_name": _odd_name,
}
