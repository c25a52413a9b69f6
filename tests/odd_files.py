"""Folders as found in practice: good files among all sorts of things that are not."""

import os
import shutil
from pathlib import Path

LOOP = Path(__file__).parent / "damaged" / "attribute_loop.h5"
"""A recording with one flipped bit: reading its attributes never ends. Only open it where reading is time-limited."""


def fill_with_odd_things(folder: Path, suffix: str = ".h5") -> list[str]:
    """Put things that are not files of kind ``suffix`` into a folder under such names; return their names."""
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
