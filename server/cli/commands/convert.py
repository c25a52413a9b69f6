"""``ptylive convert``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from ptylive.schema import MetadataError
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.values import parse_assignments

EXAMPLES = """
ptylive convert scan.mib scan.h5 --set scan_shape=256,256
ptylive convert scan.h5 small.h5 --bin 2 --crop 8,8,8,8
ptylive convert scan.h5 coefficients.h5 --basis zernike:45+1
ptylive convert scan.h5 for_pypty.h5 --to pypty           # and for_pypty.py, its preset
ptylive convert scan.h5 counts.h5 --set dark_reference=dark.h5 --set bad_pixel_mask=mask.npy
"""


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="scan file, native or foreign", readable=False)],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="file to write", readable=False)],
    basis: Annotated[str, typer.Option(help="detector basis, such as zernike:45+1; pixels keeps frames")] = "pixels",
    bin_width: Annotated[int, typer.Option("--bin", metavar="N", help="sum squares of N x N pixels")] = 1,
    crop: Annotated[
        str, typer.Option(metavar="TOP,BOTTOM,LEFT,RIGHT", help="pixels to crop, counted after --transform")
    ] = "0,0,0,0",
    pad: Annotated[int, typer.Option(metavar="N", help="add N empty pixels on each side")] = 0,
    transform: Annotated[
        str, typer.Option(metavar="WORDS", help="undo this transform: transpose, flip_rows, flip_cols joined by +")
    ] = "none",
    normalize: Annotated[bool, typer.Option("--normalize", help="scale every pattern to the same sum")] = False,
    cutoff: Annotated[
        float, typer.Option(metavar="FRACTION", help="set pixels below this fraction of the maximum to zero")
    ] = 0.0,
    cutoff_radius: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="set pixels farther than this from the centre to zero, in half widths"),
    ] = None,
    divide: Annotated[str, typer.Option(metavar="X", help="divide counts by X; mean: divide by the mean sum")] = "1",
    flip_scan: Annotated[
        str, typer.Option(metavar="WORDS", help="read the scan backwards: rows, cols joined by +")
    ] = "",
    rescale: Annotated[
        float, typer.Option(metavar="X", help="resample to X times as many pixels along each side")
    ] = 1.0,
    dtype: Annotated[str | None, typer.Option(metavar="T", help="pixel type, such as u2 or f4")] = None,
    to: Annotated[
        Literal["ptylive", "pypty"],
        typer.Option(help="format to write; pypty: patterns unchanged, with the preset OUT.py"),
    ] = "ptylive",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write a scan to a new file: patterns prepared, as frames or as coefficients in a detector basis."""
    from ptylive.application.conversion import convert_file
    from ptylive.engine.bases.choice import parse_basis
    from ptylive.engine.preparation import Preparation
    from ptylive.streamer.vetting.whole_file import vet

    preparation = Preparation(
        transform,
        parse_crop(crop),
        bin_width,
        rescale,
        pad,
        cutoff,
        normalize=normalize,
        dtype=parse_dtype(dtype),
        cutoff_radius=cutoff_radius,
        divide=parse_divisor(divide),
        flip_scan=flip_scan,
    )
    choice, values = parse_basis(basis), parse_assignments(settings or ())
    vet(source, values)
    if to == "pypty":
        if not (preparation.changes_nothing and choice.is_raw):
            raise MetadataError(
                "--to pypty writes patterns unchanged", "prepare the scan first, then convert the result"
            )
        _for_pypty(source, target, values, as_json=as_json)
        return
    started = time.perf_counter()
    when_stopped = f"{target} was not written; start again with the same command"
    with when_interrupted(when_stopped), bar(f"converting {source.name}", quiet=as_json) as shown:
        converted = convert_file(source, target, choice, preparation, values, shown.update)
    seconds = time.perf_counter() - started
    for line in filter(None, (*converted.doubts, converted.asked)):
        say(line)
    if converted.report is not None and converted.report.warning:
        say(converted.report.warning)
    outcome: dict[str, Any] = {
        "file": str(source),
        "output": str(target),
        "frames": converted.frames,
        "seconds": seconds,
        "frames_per_s": converted.frames / seconds,
        "input_bytes": source.stat().st_size,
        "output_bytes": target.stat().st_size,
        "bytes_ratio": converted.bytes_ratio,
    }
    answer(outcome | ({} if converted.report is None else asdict(converted.report)), as_json=as_json)
    if converted.missing:
        end_partial(f"{source}: {converted.missing}")


def _for_pypty(source: Path, target: Path, values: dict[str, Any], *, as_json: bool) -> None:
    """Write the scan in PyPty's format, with a preset that opens it."""
    from ptylive.application.pypty_scan import write_for_pypty
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    when_stopped = f"{target} was not written; start again with the same command"
    with when_interrupted(when_stopped), bar(f"writing {target.name}", quiet=as_json) as shown:
        written, script = write_for_pypty(source, target, values, shown.update)
    base = {"file": str(source), "output": str(target), "preset": str(script), "frames": written.patterns}
    answer(
        {**base, "pixels": written.size, "bad_pixels_filled": written.filled, "beam_off_px": written.off_px},
        as_json=as_json,
    )


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """Parse four numbers of pixels. Raises MetadataError."""
    try:
        top, bottom, left, right = (int(part) for part in text.split(","))
    except ValueError:
        raise MetadataError(f"--crop {text!r} is not TOP,BOTTOM,LEFT,RIGHT", "for example 8,8,16,16") from None
    return top, bottom, left, right


def parse_divisor(text: str) -> float | Literal["mean"]:
    """Parse a number, or ``mean``. Raises MetadataError."""
    if text == "mean":
        return "mean"
    try:
        return float(text)
    except ValueError:
        raise MetadataError(f"--divide {text!r} is not a number", "for example 10, or mean") from None


def parse_dtype(text: str | None) -> str | None:
    """Parse a pixel type in numpy's spelling. Raises MetadataError."""
    if text is None:
        return None
    try:
        return str(np.dtype(text).newbyteorder("<").str)
    except TypeError:
        raise MetadataError(f"--dtype {text!r} is not a pixel type", "for example u2 or f4") from None
