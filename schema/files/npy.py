"""npy files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import Array


def write_npy(path: Path, array: Array) -> Path:
    """Write an array to ``path``, which is returned. Raises OSError.

    numpy is given no file but a function that writes: to a file it writes by itself, and says of a full disk only how
    many numbers are missing.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)
    return path
