"""The scan: which acquired frame belongs to which point, and where that point lies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray, Model

MAX_SCAN_POSITIONS = 2**31
"""More positions than this are a mistake, not a scan."""


def rotation_matrix(rotation_deg: float) -> DoubleArray:
    """R = [[cos, -sin], [sin, cos]]: scan axes to detector axes, both (row, col)."""
    t = math.radians(rotation_deg)
    return np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])


LEAST_AREA = 1e-6
"""Area of the cell of a scan relative to the square of its longest step: a smaller one is a line."""


_TYPED_PAIR = re.compile(r"[(\[]?\s*([^\s,x×()\[\]]+)\s*[\s,x×]\s*([^\s,x×()\[\]]+)\s*[)\]]?", re.IGNORECASE)
"""Two numbers as people type them: 48,48, 48x48, 48 × 48, 48 48, (48, 48)."""


def two_whole_numbers(value: Any) -> tuple[int, int] | None:
    """Rows and columns from a list, an array, or a text as people type it; None for other values."""
    listed = value if isinstance(value, list | tuple) else np.ravel(value)
    if isinstance(value, str):
        pair = _TYPED_PAIR.fullmatch(value.strip())
        listed = () if pair is None else pair.groups()
    try:
        numbers = [float(number) for number in listed]
    except (TypeError, ValueError):
        return None
    truths = any(isinstance(number, bool | np.bool_) for number in listed)
    if truths or len(numbers) != 2 or not all(number.is_integer() for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])


def plain_shape(value: Any) -> tuple[int, int] | None:
    """Rows and columns, however they are written; None for None. Raises ValueError for anything else."""
    if value is None:
        return None
    found = two_whole_numbers(value)
    if found is None:
        raise ValueError(f"{brief(value)} is not two whole numbers, ROWS,COLUMNS")
    return found


class Scan(Model):
    """Geometry and order of a scan; ``shape`` counts the points of a row without flyback frames."""

    shape: tuple[int, int] | None = Field(default=None, description="scan points (rows, columns), without flyback")
    step_A: tuple[float, float] | None = Field(default=None, description="distance between points (row, col), Å")
    field_of_view_A: float | None = Field(
        default=None,
        gt=0,
        description="length of a row, Å: its points times the step; gives step_A where that is absent",
    )
    pattern: Literal["raster", "snake"] = Field(default="raster", description="order of the points within rows")
    flyback_frames: int = Field(default=0, ge=0, description="frames recorded after each row while the beam returns")
    skip_first: int = Field(default=0, ge=0, description="frames recorded before the first point")
    repeats: int = Field(default=1, ge=1, description="frames recorded at every point")
    rotation_deg: float | None = Field(default=None, description="scan axes to detector axes, degrees")
    matrix: tuple[tuple[float, float], tuple[float, float]] | None = Field(
        default=None, description="scan points (row, col) to Å before the rotation, instead of step_A"
    )
    dwell_time_us: float | None = Field(default=None, gt=0, description="time at each point, µs")
    beam_current: tuple[float, ...] | None = Field(
        default=None, description="beam current of every row relative to the mean; a single 1: it does not change"
    )

    @field_validator("step_A", mode="before")
    @classmethod
    def _both_steps(cls, value: Any) -> Any:
        """A single number means the same step along rows and columns."""
        if value is None:
            return None
        steps = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
        if steps.size not in (1, 2) or not np.all(np.isfinite(steps)) or np.any(steps <= 0):
            raise ValueError("scan step must be one or two positive numbers (row, col) in Å")
        return tuple(float(s) for s in np.broadcast_to(steps, 2))

    @field_validator("matrix", mode="before")
    @classmethod
    def _plain_matrix(cls, value: Any) -> Any:
        """Four numbers, also in one list: the change of y from row to row, from column to column; then that of x."""
        if value is None:
            return None
        try:
            numbers = np.asarray(value, dtype=float).ravel()
        except (TypeError, ValueError):
            numbers = np.zeros(0)
        if numbers.size != 4 or not np.isfinite(numbers).all():
            raise ValueError(f"matrix {brief(value)} is not four numbers, in Å")
        matrix = numbers.reshape(2, 2)
        if abs(np.linalg.det(matrix)) < LEAST_AREA * np.abs(matrix).max(initial=0.0) ** 2 or not matrix.any():
            raise ValueError(f"matrix {brief(value)} puts all scan points on one line")
        return tuple(tuple(row) for row in matrix.tolist())

    @field_validator("beam_current", mode="before")
    @classmethod
    def _plain_current(cls, value: Any) -> Any:
        if value is None:
            return None
        current = np.asarray(value, dtype=float).ravel()
        if not current.size or not np.isfinite(current).all() or (current <= 0).any():
            raise ValueError("beam_current must be numbers above 0: one for every row, or 1 if it does not change")
        return tuple((current / current.mean()).tolist())

    @field_validator("shape", mode="before")
    @classmethod
    def _plain_shape(cls, value: Any) -> Any:
        return plain_shape(value)

    @model_validator(mode="before")
    @classmethod
    def _one_step(cls, data: Any) -> Any:
        """A matrix replaces steps, and becomes plain steps if it is diagonal.

        Steps are the same along both axes if only a row's length is given.
        """
        if isinstance(data, Mapping) and data.get("matrix") is not None:
            matrix = np.reshape(cls._plain_matrix(data["matrix"]), (2, 2))
            plain = matrix[0, 1] == matrix[1, 0] == 0 and (np.diag(matrix) > 0).all()
            steps = {"matrix": None, "step_A": np.diag(matrix)} if plain else {"step_A": None}
            return {**data, "field_of_view_A": None, **steps}
        if not isinstance(data, Mapping) or data.get("step_A") is not None:
            return data
        view, shape = data.get("field_of_view_A"), two_whole_numbers(data.get("shape"))
        if view is None or shape is None or not float(view) > 0 or not shape[1] > 0:
            return data
        return {**data, "step_A": float(view) / shape[1]}

    @model_validator(mode="after")
    def _check_possible(self) -> Self:
        if self.shape is not None:
            rows, cols = self.shape
            if rows < 1 or cols < 1 or rows * cols > MAX_SCAN_POSITIONS:
                raise ValueError(
                    f"impossible scan shape {rows} x {cols}: both numbers must be positive and their product below 2^31"
                )
            if self.beam_current is not None and len(self.beam_current) not in (1, rows):
                raise ValueError(
                    f"beam_current has {len(self.beam_current)} numbers, the scan has {rows} rows: give one for each"
                )
        return self

    @property
    def frames_per_row(self) -> int:
        """Frames acquired for one row, flyback and repeats included."""
        return (self.require_shape()[1] + self.flyback_frames) * self.repeats

    @property
    def frames(self) -> int:
        """Frames of the whole acquisition, flyback, repeats and skipped ones included."""
        return self.skip_first + self.require_shape()[0] * self.frames_per_row

    def require_shape(self) -> tuple[int, int]:
        """The scan shape, or a MetadataError that names the missing field."""
        if self.shape is None:
            raise MetadataError("scan_shape is not known", "give it with --set scan_shape=ROWS,COLUMNS")
        return self.shape

    def with_frames(self, frames: int) -> Scan:
        """A copy whose missing shape is guessed from the number of frames: a square, or else one row."""
        if self.shape is not None:
            return self
        each = max(1, (frames - self.skip_first) // self.repeats)  # frames of the rows, each counted once
        flyback = self.flyback_frames
        side = max(1, round(math.sqrt(each + (flyback / 2) ** 2) - flyback / 2))
        return self.with_shape((side, side) if side * (side + flyback) == each else (1, max(1, each - flyback)))

    def with_shape(self, shape: tuple[int, int]) -> Scan:
        """A copy of that shape, (rows, columns), which also determines the step if a field of view is given."""
        return Scan.model_validate({**self.model_dump(exclude_unset=True), "shape": shape})

    def point_of(self, acquired: IndexArray) -> IndexArray:
        """Flat scan points (n,), row-major, of acquisition numbers (n,); -1 for flyback, skipped and surplus frames."""
        rows, cols = self.require_shape()
        n = np.asarray(acquired, dtype=np.int64) - self.skip_first
        if self.pattern == "raster" and not self.flyback_frames:  # no row restarts: four times faster
            return np.where((n >= 0) & (n < rows * cols * self.repeats), n // self.repeats, -1)
        row, in_row = np.divmod(n, self.frames_per_row)
        col = in_row // self.repeats
        valid = (n >= 0) & (row < rows) & (col < cols)
        if self.pattern == "snake":
            col = np.where(row % 2 == 1, cols - 1 - col, col)
        return np.where(valid, row * cols + col, -1)

    def acquired_at(self, point: IndexArray) -> IndexArray:
        """Numbers (n, repeats) of the frames of flat scan points (n,): the inverse of :meth:`point_of`."""
        cols = self.require_shape()[1]
        row, col = np.divmod(np.asarray(point, dtype=np.int64), cols)
        if self.pattern == "snake":
            col = np.where(row % 2 == 1, cols - 1 - col, col)
        first = self.skip_first + row * self.frames_per_row + col * self.repeats
        return np.asarray(first[:, None] + np.arange(self.repeats))

    def coverage(self, received: BoolArray) -> BoolArray:
        """Scan points (rows, columns) for which at least one frame arrived; ``received`` is in acquisition order."""
        rows, cols = self.require_shape()
        points = self.point_of(np.flatnonzero(np.asarray(received).ravel()))
        mask = np.zeros(rows * cols, dtype=bool)
        mask[points[points >= 0]] = True
        return mask.reshape(rows, cols)

    def positions_A(self, rotation_deg: float) -> DoubleArray:
        """Nominal positions (N, 2) of all scan points, row-major, in the detector frame, first point at the origin."""
        rows, cols = self.require_shape()
        index = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2)
        if self.matrix is not None:
            plane = index @ np.asarray(self.matrix).T
        elif self.step_A is not None:
            plane = index * np.asarray(self.step_A)
        else:
            raise MetadataError("scan_step_A is not known", "give it with --set scan_step_A=… (Å, or with a unit)")
        return np.asarray(plane @ rotation_matrix(rotation_deg).T)
