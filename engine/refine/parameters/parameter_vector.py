"""Layout of the refined parameters in one flat vector of real parameters, and their mapping to the backend's input.

The vector is the object's block, the probe's block, and one block for every other refined quantity. The forms:

    object  complex: real and imaginary plane         phase: phi, O = exp(i phi)
            damped: phi and a >= 0, O = exp(i phi - a)
    probe   complex: real and imaginary plane         phase: theta, P = P0 exp(i theta)      amplitude: a, P = P0 a
    others  see :class:`BlockName`

All parameters are real, so gradients are plain derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.problem import Corrections, LossGradient, Precision
from ptylive.engine.refine.parameters.band_limit import Cleaning
from ptylive.engine.refine.parameters.mixture import Mixture
from ptylive.engine.refine.parameters.planes import complex_of, turned
from ptylive.engine.refine.parameters.probe_model import ProbeForm, ProbeModel
from ptylive.engine.refine.parameters.scan_quantities import ScanQuantities
from ptylive.engine.refine.parameters.slow_field import SlowField
from ptylive.schema.model import Array, FloatArray
from ptylive.schema.units import RAD_PER_MRAD

FAINTEST = 0.1
"""Probe coefficients below this share of the largest are stepped as if they were as large; this keeps steps bounded."""


class ObjectForm(StrEnum):
    """The refined part of the transmission function."""

    COMPLEX = "complex"
    DAMPED = "damped"
    PHASE = "phase"


class BlockName(StrEnum):
    """Quantities that can be refined besides object and probe; values are the names in results."""

    SHIFTS = "shifts_px"
    """(N, 2) sub-pixel remainder of the positions, object pixels."""
    CURRENT = "beam_current"
    """(N,) relative to the mean."""
    BACKGROUND = "background"
    """(P, P) counts, at or above 0."""
    DISTANCES = "slice_distances_A"
    """(slices - 1,)."""
    THICKNESS = "thickness_A"
    """(1,) thickness of all slices together, which are equally thick."""
    ABERRATIONS = "aberrations_A"
    """(n,) additions to aberration coefficients of the start probe, Å; (groups, n) where patterns form groups."""
    TILTS = "tilts_mrad"
    """(N or 1, 6) tangents in thousandths: before, inside and after the specimen, (row, col) each."""
    SPREAD = "detector_psf_px2"
    """(1,) variance of the detector's Gaussian point spread, pixels squared."""
    OPR_COMPONENTS = "opr_components"
    """(2, n, P, P) planes in Fourier space by which the first mode of the probe varies."""
    OPR_COEFFICIENTS = "opr_coefficients"
    """(N, n) coefficients of these components."""
    FIELD = "field"
    """(quantities, K) coefficients of the slow variations over the field: Å, mrad, shares."""
    SCANS = "scans"
    """(scans, 5) shift, tilt (row, col each; Å, mrad) and relative beam current of scans refined together."""
    STRETCH = "relative_thickness"
    """(N,) relative change of the thickness by a slow field; not a block."""


@dataclass(frozen=True)
class Block:
    """One quantity: its start values and the curvature of the loss along it."""

    name: BlockName
    start: FloatArray
    """Start values, in the shape of the quantity."""
    curvature: FloatArray
    """Second derivative of the loss over all patterns, estimated; same shape."""
    lowest: float | None = None
    """Lower bound of the values."""

    @property
    def per_pattern(self) -> bool:
        """Whether each pattern has its own values, so that a batch contains all data that determine them."""
        own_tilts = self.name is BlockName.TILTS and len(self.start) > 1
        return own_tilts or self.name in (BlockName.SHIFTS, BlockName.CURRENT, BlockName.OPR_COEFFICIENTS)


class Physical(NamedTuple):
    """Object, probe and corrections that a parameter vector represents, as the backend takes them."""

    object: Any
    """(2, object modes * slices, Y, X)."""
    probe: Any
    """(2, probes * modes, P, P), shared aberrations included."""
    corrections: Corrections


@dataclass(frozen=True)
class ParameterLayout:
    """Layout of the blocks in the vector, and their mapping to physical quantities."""

    object_form: ObjectForm
    non_negative: bool
    """Whether phases are kept at or above 0."""
    object_shape: tuple[int, int, int]
    """Slices, rows, columns."""
    object_modes: int
    probe: ProbeModel
    blocks: tuple[Block, ...] = ()
    cleaning: Cleaning | None = None
    mixture: Mixture | None = None
    """Blur that turns the probe's modes into the backend's modes."""
    field: SlowField | None = None
    scans: ScanQuantities | None = None
    precision: Precision = Precision.SINGLE

    @property
    def modes(self) -> int:
        """Number of modes of one probe."""
        return len(self.probe.start) // self.probe.probes

    @property
    def sharp(self) -> ParameterLayout:
        """The same layout without the blur of the probe."""
        return self if self.mixture is None else replace(self, mixture=None)

    @property
    def window(self) -> int:
        """Side length P of the window in pixels."""
        return int(self.probe.start.shape[-1])

    @property
    def planes(self) -> int:
        """Number of slices of all object modes."""
        return self.object_modes * self.object_shape[0]

    @property
    def object_size(self) -> int:
        """Number of parameters of the object."""
        return self.planes * self.object_shape[1] * self.object_shape[2] * self._object_parts

    @property
    def probe_size(self) -> int:
        """Number of parameters of the probe."""
        return int(self.probe.start.size) * (2 if self.probe.form is ProbeForm.COMPLEX else 1)

    @property
    def size(self) -> int:
        """Total number of parameters."""
        return self.object_size + self.probe_size + sum(block.start.size for block in self.blocks)

    @property
    def _object_parts(self) -> int:
        return 1 if self.object_form is ObjectForm.PHASE else 2

    def object_block(self, vector: Any) -> Any:
        """The object's parameters, flat."""
        return vector[: self.object_size]

    def absorption_block(self, vector: Any) -> Any:
        """The absorption a of a damped object, flat."""
        return vector[self.object_size // 2 : self.object_size]

    def probe_block(self, vector: Any) -> Any:
        """The probe's parameters ([2,] probes * modes, P, P)."""
        flat = vector[self.object_size : self.object_size + self.probe_size]
        shape = self.probe.start.shape
        return flat.reshape(2, *shape) if self.probe.form is ProbeForm.COMPLEX else flat.reshape(shape)

    def other_blocks(self, vector: Any) -> dict[BlockName, Any]:
        """The values of every other quantity, in its shape."""
        values, start = {}, self.object_size + self.probe_size
        for block in self.blocks:
            values[block.name] = vector[start : start + block.start.size].reshape(block.start.shape)
            start += block.start.size
        return values

    def quantities(self) -> list[tuple[slice, bool]]:
        """The slice of every quantity in the vector, the object first, and whether the quantity is complex."""
        end = self.object_size + self.probe_size
        parts = [
            (slice(0, self.object_size), self.object_form is ObjectForm.COMPLEX),
            (slice(self.object_size, end), self.probe.form is ProbeForm.COMPLEX),
        ]
        for block in self.blocks:
            parts.append((slice(end, end + block.start.size), False))
            end += block.start.size
        return parts

    def lower_bounds(self) -> list[tuple[slice, float]]:
        """Parts of the vector that are bounded below, with the bound."""
        bounds: list[tuple[slice, float]] = []
        if self.non_negative:
            bounds.append((slice(0, self.object_size // self._object_parts), 0.0))
        if self.object_form is ObjectForm.DAMPED:
            bounds.append((slice(self.object_size // 2, self.object_size), 0.0))
        start = self.object_size + self.probe_size
        for block in self.blocks:
            if block.lowest is not None:
                bounds.append((slice(start, start + block.start.size), block.lowest))
            start += block.start.size
        return bounds

    def physical(self, vector: Any, xp: Any) -> Physical:
        """Object, probe and corrections that ``vector`` represents."""
        blocks = self.other_blocks(vector)
        tilts, aberrations = blocks.get(BlockName.TILTS), blocks.get(BlockName.ABERRATIONS)
        stretch = None
        if self.field is not None:
            tilts, aberrations, stretch = self.field.added(blocks[BlockName.FIELD], tilts, aberrations, xp)
        shifts, current = blocks.get(BlockName.SHIFTS), blocks.get(BlockName.CURRENT)
        if self.scans is not None:
            shifts, tilts, current = self.scans.added(blocks[BlockName.SCANS], shifts, tilts, current, xp)
        corrections = Corrections(
            shifts_px=shifts,
            current=current,
            background=blocks.get(BlockName.BACKGROUND),
            distances_A=self.distances_A(blocks, xp),
            tilts=None if tilts is None else RAD_PER_MRAD * tilts,
            aberrations_A=None if self._shared_aberrations else aberrations,
            spread_px2=blocks.get(BlockName.SPREAD),
            stretch=stretch,
            opr_components=self._as_modelled(blocks.get(BlockName.OPR_COMPONENTS), xp),
            opr_coefficients=blocks.get(BlockName.OPR_COEFFICIENTS),
        )
        return Physical(self._cleaned_planes(vector, xp), self.probe_planes(vector, xp), corrections)

    def distances_A(self, blocks: dict[BlockName, Any], xp: Any) -> Any:
        """Distances between slices (slices - 1,) if they are refined: individually, or together by the thickness."""
        if BlockName.THICKNESS not in blocks:
            return blocks.get(BlockName.DISTANCES)
        slices = self.object_shape[0]
        return xp.repeat(blocks[BlockName.THICKNESS] / slices, slices - 1)

    @property
    def _shared_aberrations(self) -> bool:
        """Whether refined aberrations are common to all patterns, and thus part of the probe."""
        return self.probe.phase_per_A is not None

    def _cleaned_planes(self, vector: Any, xp: Any) -> Any:
        planes = self._object_planes(vector, xp)
        return planes if self.cleaning is None else self.cleaning.clean_object(planes, xp)

    def _object_planes(self, vector: Any, xp: Any) -> Any:
        shape = (self.planes, *self.object_shape[1:])
        block = self.object_block(vector)
        if self.object_form is ObjectForm.COMPLEX:
            return block.reshape(2, *shape)
        phase = block.reshape(-1, *shape)[0]
        planes = xp.stack([xp.cos(phase), xp.sin(phase)])
        return planes if self.object_form is ObjectForm.PHASE else planes * xp.exp(-block.reshape(2, *shape)[1])

    def probe_planes(self, vector: Any, xp: Any) -> Any:
        """(2, backend's modes, P, P) in Fourier space, with shared aberrations and blur."""
        return self._as_modelled(self._unfiltered_planes(vector, xp), xp)

    def _as_modelled(self, planes: Any, xp: Any) -> Any:
        """Planes (2, …, P, P) of the probe, or of its components, as the backend sees them; None stays None."""
        if planes is not None and self.cleaning is not None:
            planes = self.cleaning.clean_probe(planes, xp)
        return planes if planes is None or self.mixture is None else self.mixture.mixed(planes, xp)

    def _probe_adjoint(self, gradient: Any, xp: Any) -> Any:
        """The adjoint of :meth:`_as_modelled`; real factors are self-adjoint."""
        if gradient is not None and self.mixture is not None:
            gradient = self.mixture.gathered(gradient, xp)
        return gradient if gradient is None or self.cleaning is None else self.cleaning.clean_probe(gradient, xp)

    def _unfiltered_planes(self, vector: Any, xp: Any) -> Any:
        """(2, probes * modes, P, P): the probe without filter and blur."""
        block = self.probe_block(vector)
        if self.probe.form is not ProbeForm.COMPLEX:
            start = self._start_planes(vector.dtype, xp)
            block = start * block if self.probe.form is ProbeForm.AMPLITUDE else turned(start, block, xp)
        if self._shared_aberrations:
            block = turned(block, -self._chi(self.other_blocks(vector)[BlockName.ABERRATIONS], xp), xp)
        return block

    def _start_planes(self, dtype: Any, xp: Any) -> Any:
        """Real and imaginary planes of the start probe (2, probes * modes, P, P)."""
        start = xp.asarray(self.probe.start)
        return xp.stack([start.real, start.imag]).astype(dtype, copy=False)

    def _chi(self, aberrations: Any, xp: Any) -> Any:
        """Added aberration phase (P, P), rad."""
        rates = xp.asarray(self.probe.phase_per_A, dtype=aberrations.dtype)
        return (aberrations[:, None, None] * rates).sum(axis=0)

    def chain(self, vector: Any, physical: Physical, gradient: LossGradient, xp: Any) -> Any:
        """Gradient with respect to the vector, from the gradient with respect to the physical quantities."""
        blocks = {
            BlockName.SHIFTS: gradient.corrections.shifts_px,
            BlockName.CURRENT: gradient.corrections.current,
            BlockName.BACKGROUND: gradient.corrections.background,
            BlockName.DISTANCES: gradient.corrections.distances_A,
            BlockName.ABERRATIONS: gradient.corrections.aberrations_A,
            BlockName.SPREAD: gradient.corrections.spread_px2,
            BlockName.OPR_COMPONENTS: self._probe_adjoint(gradient.corrections.opr_components, xp),
            BlockName.OPR_COEFFICIENTS: gradient.corrections.opr_coefficients,
        }
        if gradient.corrections.distances_A is not None:
            blocks[BlockName.THICKNESS] = gradient.corrections.distances_A.sum() / self.object_shape[0]
        if gradient.corrections.tilts is not None:
            blocks[BlockName.TILTS] = RAD_PER_MRAD * gradient.corrections.tilts
        if self.field is not None:
            corrections, tilts = gradient.corrections, blocks.get(BlockName.TILTS)
            blocks[BlockName.FIELD] = self.field.gradient(corrections.aberrations_A, tilts, corrections.stretch, xp)
        if self.scans is not None:
            corrections = gradient.corrections
            blocks[BlockName.SCANS] = self.scans.gradient(
                corrections.shifts_px, blocks.get(BlockName.TILTS), corrections.current, xp
            )
        object_gradient, probe_gradient, planes = gradient.object, gradient.probe, physical.object
        if self.cleaning is not None:  # real, even filters are their own adjoints
            object_gradient, planes = self.cleaning.clean_object(object_gradient, xp), self._object_planes(vector, xp)
        probe_gradient = self._probe_adjoint(probe_gradient, xp)
        if self._shared_aberrations:
            turning = (gradient.probe[0] * physical.probe[1] - gradient.probe[1] * physical.probe[0]).sum(axis=0)
            rates = xp.asarray(self.probe.phase_per_A, dtype=turning.dtype)
            blocks[BlockName.ABERRATIONS] = (rates * turning).sum(axis=(1, 2))
            aberrations = self.other_blocks(vector)[BlockName.ABERRATIONS]
            probe_gradient = turned(probe_gradient, self._chi(aberrations, xp), xp)
        parts = [self._object_gradient(planes, object_gradient, xp), self._probe_gradient(vector, probe_gradient, xp)]
        parts += [xp.asarray(blocks[block.name], dtype=gradient.object.dtype) for block in self.blocks]
        return xp.concatenate([part.ravel() for part in parts])

    def _object_gradient(self, planes: Any, gradient: Any, xp: Any) -> Any:
        """d/dphi = Re d/dO* i O, d/da = -Re d/dO* O."""
        if self.object_form is ObjectForm.COMPLEX:
            return gradient
        by_phase = planes[0] * gradient[1] - planes[1] * gradient[0]
        if self.object_form is ObjectForm.PHASE:
            return by_phase
        return xp.stack([by_phase, -(planes[0] * gradient[0] + planes[1] * gradient[1])])

    def _probe_gradient(self, vector: Any, gradient: Any, xp: Any) -> Any:
        if self.probe.form is ProbeForm.COMPLEX:
            return gradient
        start = self._start_planes(gradient.dtype, xp)
        if self.probe.form is ProbeForm.AMPLITUDE:
            return (start * gradient).sum(axis=0)
        current = turned(start, self.probe_block(vector), xp)
        return current[0] * gradient[1] - current[1] * gradient[0]

    def probe_curvature(self, xp: Any) -> Any:
        """Curvature of the probe's parameters relative to that of its coefficients: 1, or (probes * modes, P, P)."""
        curvature: Any = np.float32(1)
        if self.probe.form is not ProbeForm.COMPLEX:
            power = abs(xp.asarray(self.probe.start)) ** 2
            curvature = xp.maximum(power, FAINTEST * power.max()).astype(np.float32)
        if self.probe.shares is None:
            return curvature
        shares = xp.repeat(xp.asarray(self.probe.shares, dtype=np.float32), self.modes)
        return curvature * shares[:, None, None]

    def components(self, vector: Array) -> Array | None:
        """Components (n, P, P) of the first mode, in Fourier space, sharp, as complex64; None if it does not vary."""
        planes = self.sharp.physical(vector, np).corrections.opr_components
        return None if planes is None else complex_of(planes).astype(np.complex64)

    def start(self, phase: Array, modulus: Array | None = None) -> Array:
        """Parameters of an object with the given phase and modulus (object modes * slices, Y, X); None: modulus 1."""
        objects = phase
        if self.object_form is ObjectForm.COMPLEX:
            objects = np.stack([np.cos(phase), np.sin(phase)]) * (1 if modulus is None else modulus)
        elif self.object_form is ObjectForm.DAMPED:
            objects = np.stack([phase, np.zeros_like(phase) if modulus is None else np.maximum(-np.log(modulus), 0)])
        start = self.probe.start
        probes = {
            ProbeForm.COMPLEX: np.stack([start.real, start.imag]),
            ProbeForm.PHASE: np.zeros(start.shape),
            ProbeForm.AMPLITUDE: np.ones(start.shape),
        }[self.probe.form]
        blocks = [block.start for block in self.blocks]
        return np.concatenate([*map(np.ravel, (objects, probes, *blocks))], dtype=self.precision.real)

    def to_complex(self, vector: Array) -> tuple[Array, Array]:
        """Transmission (object modes, slices, Y, X) and sharp Fourier modes (probes * modes, P, P) as complex64."""
        planes, probe = self._cleaned_planes(vector, np), self.sharp.probe_planes(vector, np)
        objects = (planes[0] + 1j * planes[1]).astype(np.complex64)
        return objects.reshape(self.object_modes, *self.object_shape), (probe[0] + 1j * probe[1]).astype(np.complex64)
