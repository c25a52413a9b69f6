"""Films of pictures: GIF by Pillow, MP4 by the program ffmpeg if it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ptylive.pictures.snapshot import Rgb
from ptylive.schema.errors import InputFileError, PtyliveError
from ptylive.schema.files.atomic import replacing

SUFFIXES = (".gif", ".mp4")
LAST_S = 2.0
"""Additional time for which the last picture of a GIF, which repeats, is shown."""
FFMPEG_PATIENCE_S = 600.0
_AUTHOR = b"film by ptylive"
_AUTHOR_BYTES = 2**16
"""A film names its author in this many bytes at its beginning or end."""


def check_film(path: Path) -> None:
    """Raise InputFileError for a film that cannot be made here."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputFileError(f"{path} is no name for a film", f"end it in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise InputFileError(f"{path}: there is no program ffmpeg here", "install it, or write a .gif")


def write_film(pictures: Iterable[Rgb], path: Path, frames_per_s: float = 5.0) -> Path:
    """Write a film of RGB pictures (rows, cols, 3) uint8 of one size, by the suffix of ``path``; whole or not at all.

    Raises InputFileError (:func:`check_film`), ValueError for no picture, PtyliveError if ffmpeg fails, OSError.
    """
    check_film(path)
    with replacing(path) as place:
        (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(pictures, place, frames_per_s)
    return path


def gif_bytes(pictures: Iterable[Rgb], frames_per_s: float = 5.0) -> bytes:
    """A GIF of RGB pictures (rows, cols, 3) uint8 of one size. Raises ValueError for no picture."""
    buffer = BytesIO()
    _write_gif(pictures, buffer, frames_per_s)
    return buffer.getvalue()


def is_own_film(path: Path) -> bool:
    """Whether a film was written by :func:`write_film` or is one of :func:`gif_bytes`. Raises OSError."""
    with path.open("rb") as file:
        beginning = file.read(_AUTHOR_BYTES)
        file.seek(max(0, path.stat().st_size - _AUTHOR_BYTES))
        end = file.read(_AUTHOR_BYTES)
    if beginning.startswith(b"GIF89a"):
        return b"\x21\xfe" + bytes([len(_AUTHOR)]) + _AUTHOR in beginning
    return beginning[4:8] == b"ftyp" and (_AUTHOR in beginning or _AUTHOR in end)


def _write_gif(pictures: Iterable[Rgb], target: Path | BytesIO, frames_per_s: float) -> None:
    images = [Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE) for picture in pictures]
    if not images:
        raise ValueError("a film needs a picture")
    times_ms = [round(1000 / frames_per_s)] * len(images)
    times_ms[-1] += round(1000 * LAST_S)
    timing = {"duration": times_ms, "loop": 0, "disposal": 1}
    images[0].save(target, "GIF", save_all=True, append_images=images[1:], comment=_AUTHOR, **timing)


def _write_mp4(pictures: Iterable[Rgb], path: Path, frames_per_s: float) -> None:
    """Write an MP4. H.264 requires even numbers of rows and columns: an odd number loses its last."""
    frames = [picture[: len(picture) // 2 * 2, : picture.shape[1] // 2 * 2] for picture in pictures]
    if not frames:
        raise ValueError("a film needs a picture")
    rows, cols = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{cols}x{rows}", "-r", f"{frames_per_s:g}", "-i", "-"]
    author = ["-metadata", f"comment={_AUTHOR.decode()}"]
    command = ["ffmpeg", "-loglevel", "error", "-y", *raw, "-pix_fmt", "yuv420p", *author, "-f", "mp4", str(path)]
    data = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    try:
        completed = subprocess.run(command, input=data, capture_output=True, timeout=FFMPEG_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise PtyliveError(f"ffmpeg did not end within {FFMPEG_PATIENCE_S:.0f} s", "write a .gif") from None
    if completed.returncode:
        stderr = completed.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise PtyliveError(f"ffmpeg failed: {stderr[0][:200]}", "write a .gif")
