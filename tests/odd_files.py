"""Folders as they are found: among good files, everything that is none."""

import os
import shutil
from pathlib import Path

LOOP = Path(__file__).parent / "damaged" / "attribute_loop.h5"
"""A recording with one flipped bit: reading its attributes never ends. Open it only where that is stopped."""


def fill_with_odd_things(folder: Path, suffix: str = ".h5") -> list[str]:
    """Put things that are no files of ``suffix`` into a folder under such names; their names."""
    made = {
        name: folder / f"{name}{suffix}" for name in ("dir", "fifo", "nowhere", "circle", "empty", "sparse", "text")
    }
    made["dir"].mkdir()
    os.mkfifo(made["fifo"])
    made["nowhere"].symlink_to(folder / "not_there")
    made["circle"].symlink_to(made["circle"])
    made["empty"].touch()
    with made["sparse"].open("wb") as file:
        file.truncate(2**40)
    made["text"].write_text("this is no such file")
    return [path.name for path in made.values()]


def put_loop(folder: Path, name: str = "loop.h5") -> Path:
    """A copy of :data:`LOOP` in a folder."""
    return Path(shutil.copy(LOOP, folder / name))
