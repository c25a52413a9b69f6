"""LSQ-ML: a step along preconditioned gradients, with step lengths that each pattern finds by least squares.

    dP = sum conj(O) chi / (sum |O|^2 + d)             dO = sum conj(P) chi / (sum |P|^2 + d)
    a_n, b_n >= 0 minimise || chi_n - a_n dO P - b_n dP O ||^2
    P += dP sum b_n |O|^2 / (sum |O|^2 + d)            O += dO sum a_n |P|^2 / (sum |P|^2 + d)

chi_n changes the exit wave of pattern n to the measured moduli; sums are over the patterns of a batch, and d is a share
``lsq_damping`` of the largest value of the adjacent sum (Odstrcil, Menzel and Guizar-Sicairos, Optics Express 26, 3108
(2018), the engine of PtychoShelves and fold_slice). A tenth of its mean over the batch is added to the diagonal of the
least-squares matrix, as in PtychoShelves. ``sweep_step`` and ``probe_step`` multiply a and b; they are 1 by default.

Gradients are the backend's. The changes dO P and dP O of a wave are those of the forward model in the direction of the
step, so that several slices are one direction, with one a_n, and several probe modes have one b_n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.engines.real_space import object_power, summed_windows, to_fourier_space, to_real_space
from ptylive.engine.refine.engines.rule import Batch, PublishedSettings, RuleInput, Step
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.schema.model import IndexArray

RIDGE = 0.1
"""Share of the mean diagonal that is added to the least-squares matrix (PtychoShelves)."""
SHORT = 1e-2
"""Length, in the largest component of the object's step, over which waves are compared: changes of the wave are then
exact to 1e-4 of their size at worst, for a phase, and to rounding otherwise."""
PATTERNS_AT_ONCE = 64
"""Number of patterns whose waves are in memory together when steps are computed."""
TINY = 1e-30


@dataclass(frozen=True)
class LsqMl:
    """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`."""

    model: GeneralMultislice
    """Model that computes waves from object and probe."""
    corners: IndexArray
    """(N, 2) corners of the windows."""
    damping: float
    object_step: float
    probe_step: float

    published = PublishedSettings(epochs=50, batch_size=64)

    @classmethod
    def of(cls, inputs: RuleInput, xp: Any = np, dtype: str = "complex64") -> LsqMl:
        """Create from the settings, for arrays of the module ``xp``."""
        model = GeneralMultislice(inputs.problem, xp, dtype, "waves")
        return cls(model, inputs.problem.corners, inputs.settings.lsq_damping, inputs.object_step, inputs.probe_step)

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`."""
        objective = batch.objective
        layout, xp, vector = objective.layout, objective.xp, batch.vector
        light, power = self._sums(batch, None)
        object_step = self._object_direction(batch, light)
        probe_step = self._probe_direction(batch, power)
        a, b = self._lengths(batch, object_step, probe_step)
        weighed_light, weighed_power = self._sums(batch, (a, b))
        moved = vector.copy()
        if objective.move_object:
            share = (weighed_light / (light + self.damping * light.max() + TINY)).astype(vector.dtype)
            by_plane = layout.object_block(object_step).reshape(-1, *share.shape) * share
            layout.object_block(moved)[...] += np.float32(self.object_step) * by_plane.ravel()
        if objective.move_probe:
            share = weighed_power / (power + self.damping * power.max() + TINY)
            waves = to_real_space(layout.probe_block(probe_step), xp) * share
            change = to_fourier_space(waves, xp).astype(vector.dtype)
            layout.probe_block(moved)[...] += np.float32(self.probe_step) * change
        return Step(moved)

    def _sums(self, batch: Batch, lengths: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Sums of |P|^2 (Y, X) and of |O|^2 (P, P) over the batch, each pattern weighted with its lengths."""
        layout, xp, indices = batch.objective.layout, batch.objective.xp, batch.indices
        physical = layout.physical(batch.vector, xp)
        shares, weights = None, xp.ones(len(indices), np.float32)
        if lengths is not None:
            shares = xp.zeros(len(self.corners), np.float32)
            shares[xp.asarray(indices)] = lengths[0]
            weights = lengths[1]
        light = self.model.illumination(physical.probe, indices, shares) / layout.object_modes
        planes = physical.object.reshape(2, layout.object_modes, *layout.object_shape)
        return light, summed_windows(object_power(planes), self.corners[indices], layout.window, weights, xp)

    def _object_direction(self, batch: Batch, light: Any) -> Any:
        """(n,) zero except for the object: dO, from half the negative gradient."""
        layout, xp = batch.objective.layout, batch.objective.xp
        step = xp.zeros_like(batch.vector)
        if batch.objective.move_object:
            planes = layout.object_block(batch.at.gradient).reshape(-1, *light.shape)
            denominator = 2 * (light + self.damping * light.max() + TINY)
            layout.object_block(step)[...] = -(planes / denominator).ravel()
        return step

    def _probe_direction(self, batch: Batch, power: Any) -> Any:
        """(n,) zero except for the probe: dP."""
        layout, xp = batch.objective.layout, batch.objective.xp
        step = xp.zeros_like(batch.vector)
        if batch.objective.move_probe:
            waves = to_real_space(layout.probe_block(batch.at.gradient), xp)
            denominator = 2 * (power + self.damping * power.max() + TINY)
            layout.probe_block(step)[...] = -to_fourier_space(waves / denominator, xp)
        return step

    def _lengths(self, batch: Batch, object_step: Any, probe_step: Any) -> tuple[Any, Any]:
        """A (n,) and b (n,)."""
        layout, xp, vector = batch.objective.layout, batch.objective.xp, batch.vector
        largest = float(xp.abs(layout.object_block(object_step)).max())
        step_size = np.float32(SHORT / max(largest, TINY))
        products = []
        for start in range(0, len(batch.indices), PATTERNS_AT_ONCE):
            indices = batch.indices[start : start + PATTERNS_AT_ONCE]
            current = layout.physical(vector, xp)
            _, chi = self.model.corrected_waves(current.object, current.probe, indices)
            ahead, behind = (layout.physical(vector + sign * step_size * object_step, xp) for sign in (1, -1))
            ahead, behind = (self.model.waves(each.object, each.probe, indices) for each in (ahead, behind))
            by_object = (ahead - behind) / (2 * step_size)
            of_probe = layout.physical(_probe_replaced(layout, vector, probe_step), xp)
            by_probe = self.model.waves(of_probe.object, of_probe.probe, indices)  # the wave is linear in the probe
            pairs = (
                (by_object, by_object),
                (by_object, by_probe),
                (by_probe, by_probe),
                (by_object, chi),
                (by_probe, chi),
            )
            products.append(xp.stack([_inner(each, partner, xp) for each, partner in pairs]))
        return solved(xp.concatenate(products, axis=1), xp)


def solved(products: Any, xp: Any) -> tuple[Any, Any]:
    """Non-negative lengths a and b (n,) of the two steps.

    products (5, n): real parts of <A, A>, <A, B>, <B, B>, <A, chi>, <B, chi>, A and B the changes of the wave.
    """
    aa, ab, bb, ac, bc = products
    aa = aa + RIDGE * aa.mean()
    bb = bb + RIDGE * bb.mean()
    determinant = aa * bb - ab * ab
    independent = determinant > TINY  # if one does not change the wave, the other is solved alone
    divisor = xp.where(independent, determinant, 1)
    a = xp.where(independent, (bb * ac - ab * bc) / divisor, ac / xp.maximum(aa, TINY))
    b = xp.where(independent, (aa * bc - ab * ac) / divisor, bc / xp.maximum(bb, TINY))
    return xp.maximum(a, 0).astype(np.float32), xp.maximum(b, 0).astype(np.float32)


def _probe_replaced(layout: ParameterLayout, vector: Any, probe_step: Any) -> Any:
    """The parameters with the probe replaced by its step."""
    changed = vector.copy()
    layout.probe_block(changed)[...] = layout.probe_block(probe_step)
    return changed


def _inner(a: Any, b: Any, xp: Any) -> Any:
    """Real inner product of waves (n, ...) pattern by pattern (n,), in double precision."""
    axes = tuple(range(1, a.ndim))
    return (a.real * b.real + a.imag * b.imag).sum(axis=axes, dtype=xp.float64)
