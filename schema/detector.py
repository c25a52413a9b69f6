"""The detector: pixels, their size, the orientation of the recorded pattern, and the meaning of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.model import Array, BoolArray, DoubleArray, IndexArray, Model
from ptylive.schema.pattern.distortion import distortion_of, numbers_of
from ptylive.schema.scan import plain_shape

ALLOWED_DTYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", ">u2", ">u4", "<f8")
TRANSFORM_WORDS = ("none", "transpose", "flip_rows", "flip_cols")
TERMS_OF_BOTH = 10
"""Numbers of a smooth descan: five terms along each axis of the detector."""
REFERENCES = ("dark_reference", "gain_reference")
"""Arrays (Qy, Qx) of a scan whose frames are as the detector wrote them."""
DETECTOR_ARRAYS = ("bad_pixel_mask", "vacuum_pattern", *REFERENCES)
"""Arrays (Qy, Qx) of a scan, which may be given as files."""
DP_MASK = "dp_mask"
"""py4DSTEM's name for a mask of the pixels that count, whereas ``bad_pixel_mask`` has those that do not."""
GIVEN_ARRAYS = (*DETECTOR_ARRAYS, DP_MASK)
"""Names under which arrays of a detector may be given."""


class Detector(Model):
    """Known properties of the detector; beam centre and masks are in recorded coordinates."""

    shape: tuple[int, int] | None = Field(default=None, description="pixels (rows, columns)")
    dtype: str = Field(default="<u2", description="type of a recorded pixel, numpy spelling")
    pixel_mrad: float | None = Field(default=None, gt=0, description="angle covered by one pixel, mrad")
    pixel_invA: float | None = Field(default=None, gt=0, description="spatial frequency covered by one pixel, 1/Å")
    beam_center_px: tuple[float, float] | None = Field(default=None, description="beam centre (row, col), pixels")
    descan_px: tuple[float, ...] | None = Field(
        default=None,
        description="movement of the pattern during the scan: 0, four numbers of a plane, or ten of a parabola",
    )
    distortion: tuple[float, ...] | None = Field(
        default=None,
        description="of the recorded pattern, in half-widths: 0, 4 numbers (linear), 10 (and quadratic) or 18 (cubic)",
    )
    transform: str = Field(default="none", description="what was done to the pattern before recording")
    transform_given: bool = Field(default=False, description="whether the transform was stated, not assumed")
    counts_per_electron: float | None = Field(default=None, gt=0, description="counts per electron")
    saturation_value: float | None = Field(default=None, gt=0, description="largest count that a pixel can record")
    cluster_time_us: float | None = Field(
        default=None,
        gt=0,
        description="hits of an event detector that touch and come this close in time are one electron, µs",
    )

    @field_validator("shape", mode="before")
    @classmethod
    def _plain_shape(cls, value: Any) -> Any:
        return plain_shape(value)

    @field_validator("beam_center_px", mode="before")
    @classmethod
    def _plain_center(cls, value: Any) -> Any:
        return None if value is None else tuple(float(v) for v in np.asarray(value).ravel())

    @field_validator("descan_px", mode="before")
    @classmethod
    def _plain_descan(cls, value: Any) -> Any:
        if value is None:
            return None
        numbers = np.asarray(value, dtype=float).ravel().tolist()
        if len(numbers) > TERMS_OF_BOTH:
            raise ValueError(f"descan_px has {len(numbers)} numbers: give 0, the 4 of a plane, or 10")
        return Descan.of(numbers).numbers

    @field_validator("distortion", mode="before")
    @classmethod
    def _plain_distortion(cls, value: Any) -> Any:
        return None if value is None else numbers_of(distortion_of(np.asarray(value, dtype=float).ravel().tolist()))

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        dtype = np.dtype(value).str
        if dtype not in ALLOWED_DTYPES:
            raise ValueError(f"pixel type {value!r} is not supported: use one of {', '.join(ALLOWED_DTYPES)}")
        return dtype

    @field_validator("transform")
    @classmethod
    def _known_words(cls, value: str) -> str:
        parse_transform(value)
        return value


@dataclass(frozen=True)
class Descan:
    """Wander of the pattern over the detector while the beam is scanned: the residue left by the descan coils.

    A second-order polynomial of the scan position: coefficients (2, 5), detector rows and columns as recorded, pixels,
    of u, v, u v, u^2 - 1/3, v^2 - 1/3; u, v run from -1 to 1 over the scan's rows and columns. If the pattern jumps
    from one line of the scan to the next, each line has an additional offset (row, column); otherwise there are no
    offsets.
    """

    coefficients: tuple[tuple[float, ...], tuple[float, ...]]
    lines: tuple[tuple[float, float], ...] = ()
    uncertainty_px: float | None = field(default=None, compare=False)
    """Standard error of a pattern's position where it was measured, root mean square over the field."""

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Descan:
        """Make a descan from ten coefficients, rows first; from the four changes of a plane across the field; or from
        0: none.

        The four: detector row over the scan's rows, over its columns, detector column over rows, over columns; pixels.
        After ten coefficients there may be an offset (row, column) of each line of the scan. Raises ValueError for any
        other count, and for values that are not finite.
        """
        if not np.isfinite(numbers).all():
            raise ValueError("descan_px must be finite")
        if len(numbers) == 1 and not numbers[0]:
            return cls(((0.0,) * 5, (0.0,) * 5))
        if len(numbers) == 4:
            half = [float(number) / 2 for number in numbers]
            return cls(((*half[:2], 0.0, 0.0, 0.0), (*half[2:], 0.0, 0.0, 0.0)))
        if len(numbers) < TERMS_OF_BOTH or len(numbers) % 2:
            raise ValueError(f"descan_px has {len(numbers)} numbers: give 0, the 4 of a plane, or 10")
        plain = tuple(float(number) for number in numbers)
        offsets = plain[TERMS_OF_BOTH:]
        return cls((plain[:5], plain[5:TERMS_OF_BOTH]), tuple(zip(offsets[::2], offsets[1::2], strict=True)))

    @property
    def numbers(self) -> tuple[float, ...]:
        """All ten coefficients, rows first, and the offsets of lines, if any."""
        return (*self.coefficients[0], *self.coefficients[1], *(number for line in self.lines for number in line))

    @property
    def smooth(self) -> Descan:
        """The smooth part, without jumps between lines: other scans of the same field may share it."""
        return Descan(self.coefficients, uncertainty_px=self.uncertainty_px)

    @property
    def moves(self) -> bool:
        """Whether it displaces any pattern."""
        return any(self.numbers)

    def minus(self, other: Descan | None) -> Descan:
        """Return the remainder after another descan has been removed."""
        return self if other is None else self.plus(other.scaled(-1.0))

    def plus(self, other: Descan | None) -> Descan:
        """Return the sum with another descan."""
        if other is None:
            return self
        pairs = zip_longest(self.numbers, other.numbers, fillvalue=0.0)
        return Descan.of([a + b for a, b in pairs])

    def undone(self, words: str) -> Descan:
        """Return the descan of patterns whose transform has been undone."""
        coefficients, lines = np.asarray(self.coefficients), np.reshape(self.lines, (-1, 2)).T
        for word in reversed(parse_transform(words)):
            if word == "transpose":
                coefficients, lines = coefficients[::-1], lines[::-1]
            else:
                signs = np.array([[-1.0], [1.0]] if word == "flip_rows" else [[1.0], [-1.0]])
                coefficients, lines = signs * coefficients, signs * lines
        return Descan.of([*coefficients.ravel().tolist(), *lines.T.ravel().tolist()])

    def scaled(self, factor: float) -> Descan:
        """Return the descan in other pixels, ``factor`` of which make an old one."""
        return Descan.of([factor * number for number in self.numbers])

    def read_backwards(self, words: str) -> Descan:
        """Return the descan of a scan whose rows, cols or both (joined by +) come in reverse order."""
        chosen = words.split("+")
        u, v = (-1.0 if word in chosen else 1.0 for word in ("rows", "cols"))
        signs = (u, v, u * v, 1.0, 1.0)
        rows, cols = (
            tuple(sign * number for sign, number in zip(signs, axis, strict=True)) for axis in self.coefficients
        )
        return Descan((rows, cols), self.lines[::-1] if "rows" in chosen else self.lines)

    def at(self, u: DoubleArray, v: DoubleArray) -> DoubleArray:
        """Displacement (n, 2) of the pattern, pixels, at positions (n,) of the scan, without jumps between lines."""
        return np.asarray(descan_terms(u, v) @ np.asarray(self.coefficients).T)

    def at_points(self, point: IndexArray, scan_shape: tuple[int, int]) -> DoubleArray:
        """Displacement (n, 2), pixels, at scan points (n,), flat.

        Raises MetadataError if the offsets are those of another scan's lines.
        """
        smooth = self.at(*scan_places(point, scan_shape))
        if not self.lines:
            return smooth
        if len(self.lines) != scan_shape[0]:
            raise MetadataError(
                f"descan_px has offsets of {len(self.lines)} lines, the scan has {scan_shape[0]}",
                "estimate descan_px again",
            )
        return np.asarray(smooth + np.asarray(self.lines)[np.asarray(point) // scan_shape[1]])

    @property
    def extent_px(self) -> float:
        """Largest distance, in pixels, between the positions of two patterns of the scan."""
        rows, cols = len(self.lines) or 5, 5
        places = self.at(*scan_places(np.arange(rows * cols), (rows, cols)))
        if self.lines:
            places = places + np.repeat(self.lines, cols, axis=0)
        angle = np.linspace(0.0, 2 * np.pi, 360, endpoint=False)
        rim = places[(places @ np.stack([np.cos(angle), np.sin(angle)])).argmax(axis=0)]
        return float(np.linalg.norm(rim[:, None] - rim, axis=2).max())


def descan_terms(u: DoubleArray, v: DoubleArray) -> DoubleArray:
    """The terms (n, 5) of :class:`Descan` at positions (n,) of the scan; their mean over the field is 0."""
    return np.stack([u, v, u * v, u * u - 1 / 3, v * v - 1 / 3], axis=1)


def scan_places(point: IndexArray, scan_shape: tuple[int, int]) -> tuple[DoubleArray, DoubleArray]:
    """Scan points (n,), flat, as u, v in [-1, 1]; 0 along an axis of one point."""
    rows, cols = np.divmod(np.asarray(point), scan_shape[1])
    half = [max(n - 1, 1) / 2 for n in scan_shape]
    return rows / half[0] - min(scan_shape[0] - 1, 1), cols / half[1] - min(scan_shape[1] - 1, 1)


MOST_COUNTS = 1e12
"""Limit on the counts of a pixel: larger floats are markers, and squares of their sums overflow single precision."""


def below_saturation(frames: Array, saturation_value: float | None) -> Array:
    """Limit counts (…, Qy, Qx) to the largest a pixel can record: full pixels often hold a marker far above it.

    Returns the same array where nothing changes.
    """
    if saturation_value is None or not frames.size or not (frames > saturation_value).any():
        return frames
    return np.asarray(np.minimum(frames, np.asarray(saturation_value).astype(frames.dtype)))


def usable_counts(frames: Array, saturation_value: float | None = None) -> tuple[Array, int]:
    """Return frames (n, Qy, Qx) with every count valid and within the pixel's range, and the number of invalid values.

    Invalid values, which are not numbers or beyond any detector's count (``MOST_COUNTS``), become 0. Returns the same
    array where nothing changes.
    """
    masked = 0
    if frames.dtype.kind == "f" and frames.size and not _all_counts(frames):
        wrong = no_counts(frames)
        masked = int(np.count_nonzero(wrong))
        frames = np.where(wrong, frames.dtype.type(0), frames) if masked else frames
    return below_saturation(frames, saturation_value), masked


def _all_counts(frames: Array) -> bool:
    """Whether all values are certainly meaningful: their sum shows it quickly, unless it is large itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(abs(frames.sum()) <= MOST_COUNTS)


def no_counts(frames: Array) -> Array:
    """Where, in an array of any shape, values are not numbers, or beyond what a detector counts."""
    return np.asarray(~(np.abs(frames) <= MOST_COUNTS))


def array_problem(name: str, array: Array) -> str:
    """Describe what is wrong with the values of masks and references; empty where nothing is."""
    if name not in (*REFERENCES, "masks"):
        return ""
    if array.dtype.kind not in "uif":
        return f"holds {array.dtype}, not numbers"
    if not np.isfinite(array).all():
        return "holds values that are not numbers"
    return "holds negative factors" if name == "gain_reference" and (array < 0).any() else ""


def joined(
    arrays: Mapping[str, Array], given: Mapping[str, Array], saturation_value: float | None = None
) -> dict[str, Array]:
    """Merge a scan's arrays with given ones, which replace them, except for masks, which are combined.

    Pixels that are full in the dark are bad, and so are those whose gain is not a number above 0.
    """
    out = {**arrays, **given}
    masks = [a["bad_pixel_mask"] for a in (arrays, given) if "bad_pixel_mask" in a]
    if "gain_reference" in given:
        gain = np.asarray(given["gain_reference"], dtype=np.float32)
        out["gain_reference"] = np.where(np.isfinite(gain) & (gain > 0), gain, np.float32(0))
    useless = useless_pixels(out, saturation_value)
    if masks or useless is not None:
        every = masks if useless is None else [*masks, useless]
        out["bad_pixel_mask"] = np.logical_or.reduce([np.asarray(mask) != 0 for mask in every])
    return out


def useless_pixels(arrays: Mapping[str, Array], saturation_value: float | None) -> BoolArray | None:
    """Pixels (Qy, Qx) that their references make useless: multiplied by no number above 0, or full in the dark.

    None if there are no such pixels.
    """
    found: list[BoolArray] = []
    if "gain_reference" in arrays:
        gain = np.asarray(arrays["gain_reference"])
        found.append(~(np.isfinite(gain) & (gain > 0)))
    if "dark_reference" in arrays and saturation_value is not None:
        found.append(np.asarray(arrays["dark_reference"]) >= saturation_value)
    useless = np.logical_or.reduce(found) if found else None
    return useless if useless is not None and useless.any() else None


def parse_transform(words: str) -> tuple[str, ...]:
    """Words of a detector transform in the order they were applied; ``none`` is the empty tuple."""
    parts = tuple(w.strip() for w in words.split("+"))
    for word in parts:
        if word not in TRANSFORM_WORDS:
            raise ValueError(
                f"unknown detector transform {brief(word)}: use words of {', '.join(TRANSFORM_WORDS)} joined by +"
            )
    return tuple(w for w in parts if w != "none")


def undo_transform(patterns: Array, words: str) -> Array:
    """A view of recorded patterns (..., row, col) in the detector frame: the transform undone, last word first."""
    for word in reversed(parse_transform(words)):
        if word == "transpose":
            patterns = patterns.swapaxes(-1, -2)
        elif word == "flip_rows":
            patterns = patterns[..., ::-1, :]
        else:
            patterns = patterns[..., ::-1]
    return patterns


def undo_transform_of_center(center_px: tuple[float, float], shape: tuple[int, int], words: str) -> DoubleArray:
    """The beam centre (row, col) in the detector frame, given in recorded coordinates of a pattern of ``shape``."""
    center, size = np.asarray(center_px, dtype=float), np.asarray(shape)
    for word in reversed(parse_transform(words)):
        if word == "transpose":
            center, size = center[::-1], size[::-1]
        else:
            axis = 0 if word == "flip_rows" else 1
            center = np.where(np.arange(2) == axis, size - 1 - center, center)
    return np.asarray(center, dtype=float)


def undo_transform_of_displacement(displacement_px: DoubleArray, words: str) -> DoubleArray:
    """Displacements (n, 2) of patterns, rows and columns as recorded, in the detector frame."""
    out = np.array(displacement_px, dtype=float)
    for word in reversed(parse_transform(words)):
        if word == "transpose":
            out = out[:, ::-1].copy()
        else:
            out[:, 0 if word == "flip_rows" else 1] *= -1
    return out
