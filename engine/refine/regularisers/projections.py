"""Hard constraints: changes of the parameters between two epochs (PyPty's constraints "by hand").

Objects are handled as potentials: phase phi and absorption a of O = exp(i phi - a), each slice separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName, ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm
from ptylive.engine.refine.regularisers.deconvolution import filtered, gaussian, richardson_lucy, wiener
from ptylive.engine.refine.regularisers.of_preset import Regularisation
from ptylive.engine.refine.regularisers.potentials import absorption_of, change_object, potentials, set_potentials
from ptylive.engine.refine.regularisers.registration import Registration
from ptylive.engine.refine.regularisers.registry import registered
from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.regularisers import RegulariserSettings

SPREAD_RAD = 0.02
"""Size of the random phases by which the states of an empty object differ: equal states would stay equal."""


def due(settings: RegulariserSettings) -> bool:
    """Whether the settings of an epoch change any parameters; clearing the history is not a change."""
    return _built_in(settings) or any(each.kind == "projection" and each.on(settings) for each in registered())


def changes_in(settings: RegulariserSettings, layout: ParameterLayout, regularisation: Regularisation) -> bool:
    """Whether :func:`projected` changes anything: projections that do not apply (one slice) do not count."""
    return _built_in(settings) or bool(regularisation.made(settings, layout, "projection"))


def _built_in(settings: RegulariserSettings) -> bool:
    return bool(
        settings.apply_gaussian_filter_px
        or settings.apply_gaussian_filter_amplitude_px
        or settings.beta_wedge
        or settings.keep_probe_states_orthogonal
        or settings.do_charge_flip
        or settings.restart_from_vacuum
        or settings.reset_positions
    )


def projected(
    vector: Any, settings: RegulariserSettings, layout: ParameterLayout, regularisation: Regularisation, xp: Any
) -> Any:
    """Return a copy of a parameter vector after all changes due in an epoch, in the order of this function."""
    vector = vector.copy()
    if settings.restart_from_vacuum:
        layout.object_block(vector)[...] = xp.asarray(_vacuum(layout), dtype=vector.dtype)
    if settings.reset_positions:
        _reset(layout, vector, BlockName.SHIFTS, xp)
    if settings.beta_wedge:
        visible = 1 - xp.asarray(regularisation.wedge(layout.object_shape, settings.beta_wedge))
        change_object(layout, vector, lambda part: filtered(part, visible, xp), xp)
    if settings.do_charge_flip or settings.apply_gaussian_filter_px or settings.apply_gaussian_filter_amplitude_px:
        phase, absorption = potentials(layout, vector, xp)
        if settings.do_charge_flip:
            phase_atoms, absorption_atoms = Atomicity.of(settings)
            phase = flipped(phase, settings.cf_delta_phase, settings.cf_beta_phase, phase_atoms, xp)
            absorption = flipped(absorption, settings.cf_delta_abs, settings.cf_beta_abs, absorption_atoms, xp)
        phase = blurred(phase, settings.apply_gaussian_filter_px, xp)
        absorption = blurred(absorption, settings.apply_gaussian_filter_amplitude_px, xp)
        set_potentials(layout, vector, phase, absorption, xp)
    if settings.keep_probe_states_orthogonal:
        _make_orthogonal(layout, vector, xp)
    _apply(regularisation.made(settings, layout, "projection"), layout, vector, xp)
    return vector


def lasting(
    vector: Any, settings: RegulariserSettings, layout: ParameterLayout, regularisation: Regularisation, xp: Any
) -> Any:
    """A parameter vector after the projections that also act on a result: a copy, or the same if there are none."""
    changes = [pair for pair in regularisation.made(settings, layout, "projection") if pair[0].lasting]
    if not changes:
        return vector
    vector = vector.copy()
    _apply(changes, layout, vector, xp)
    return vector


def _apply(changes: list[tuple[Registration, Any]], layout: ParameterLayout, vector: Any, xp: Any) -> None:
    """Apply registered projections, in order, then the lower bounds. Changes ``vector``."""
    for registration, change in changes:
        with registration.at_work():
            {"object": _project_object, "probe": _project_probe, "both": _project_both}[registration.acts_on](
                layout, vector, change, xp
            )
    for part, lowest in layout.lower_bounds():
        xp.maximum(vector[part], lowest, out=vector[part])


def blurred(values: Any, sigma_px: float, xp: Any) -> Any:
    """Values (…, Y, X) convolved with exp(-r^2 / (2 sigma^2)), periodic, mean preserved; sigma 0: unchanged."""
    return filtered(values, gaussian(values.shape[-2:], sigma_px, xp), xp) if sigma_px > 0 else values


@dataclass(frozen=True)
class Atomicity:
    """Sharpening before a charge flip and blurring after it, both with the shape exp(-r^2 / s^2)."""

    sharpen_px: float
    blur_px: float
    iterative: bool = False
    """Use Richardson and Lucy's method, not Wiener's."""

    @classmethod
    def of(cls, settings: RegulariserSettings) -> tuple[Atomicity | None, Atomicity | None]:
        """For phase and absorption; None if these are flipped without sharpening."""
        iterative = settings.fancy_deconvolution == "richardson_lucy"
        pairs = (settings.fancy_sigma_phase_px, settings.fancy_sigma_abs_px)
        phase, absorption = (None if pair is None else cls(*pair, iterative) for pair in pairs)
        return phase, absorption


def flipped(values: Any, delta: float, beta: float, atoms: Atomicity | None, xp: Any) -> Any:
    """Charge flipping: multiply values below delta * the largest of their slice by beta.

    With ``atoms`` the slice is first shifted to a minimum of 0 and sharpened, and blurred afterwards, which favours
    atoms (PyPty: fancy_sigma; where PyPty divides by the shape's transform, Wiener's filter is used here).
    """
    if atoms is not None:
        values = values - values.min(axis=(-2, -1), keepdims=True)
        sharpen = richardson_lucy if atoms.iterative else wiener
        values = sharpen(values, atoms.sharpen_px / np.sqrt(2), xp)
    largest = values.max(axis=(-2, -1), keepdims=True)
    values = xp.where(values < delta * largest, beta * values, values)
    return values if atoms is None else blurred(values, atoms.blur_px / np.sqrt(2), xp)


def orthogonal(modes: Any, xp: Any) -> Any:
    """Modes (M, pixels) rotated among themselves until they are orthogonal, strongest first.

    With M = U S V^H they become S V^H: the sum of |mode|^2 in every pixel of every plane is preserved. (PyPty's
    Gram-Schmidt removes power instead.)
    """
    overlap = modes @ modes.conj().T
    _, turned = xp.linalg.eigh(overlap)
    return turned[:, ::-1].conj().T @ modes


def _vacuum(layout: ParameterLayout) -> Any:
    """The object's parameters at O = 1; several states differ slightly."""
    phase = np.zeros((layout.planes, *layout.object_shape[1:]), np.float32)
    if layout.object_modes > 1:
        phase += SPREAD_RAD * np.random.default_rng(0).random(phase.shape, np.float32)
    return layout.object_block(layout.start(phase))


def _reset(layout: ParameterLayout, vector: Any, name: BlockName, xp: Any) -> None:
    for block in layout.blocks:
        if block.name is name:
            layout.other_blocks(vector)[name][...] = xp.asarray(block.start)


def _make_orthogonal(layout: ParameterLayout, vector: Any, xp: Any) -> None:
    """Make the modes of each probe orthogonal, if real and imaginary parts are refined."""
    if layout.probe.form is not ProbeForm.COMPLEX:
        raise MetadataError("keep_probe_states_orthogonal needs probe_part = both", "set one or the other")
    planes = layout.probe_block(vector)
    waves = (planes[0] + 1j * planes[1]).reshape(layout.probe.probes, -1, layout.window**2)
    turned = xp.stack([orthogonal(modes, xp) for modes in waves]).reshape(planes.shape[1:])
    planes[0], planes[1] = turned.real, turned.imag


def _project_object(layout: ParameterLayout, vector: Any, projection: Any, xp: Any) -> None:
    """Apply a registered projection to the object; phases change by the smallest angle."""
    on_wave = getattr(projection, "changed", None)
    if layout.object_form is ObjectForm.COMPLEX and on_wave is not None:
        change_object(layout, vector, lambda wave: on_wave(wave, xp), xp)
        return
    phase, absorption = potentials(layout, vector, xp)
    on_potentials = getattr(projection, "potentials_changed", None)
    if on_potentials is not None:
        phase, absorption = on_potentials(phase, absorption, xp)
    else:
        wave = xp.exp(1j * phase - absorption)
        changed = projection.changed(wave, xp).reshape(phase.shape)
        phase, absorption = phase + xp.angle(changed * wave.conj()), absorption_of(abs(changed), xp)
    set_potentials(layout, vector, phase, absorption, xp)


def _project_probe(layout: ParameterLayout, vector: Any, projection: Any, xp: Any) -> None:
    """Apply a registered projection to the probe in Fourier space (modes, P, P)."""
    planes = _free_probe(layout, vector)
    changed = projection.changed(planes[0] + 1j * planes[1], xp).reshape(planes.shape[1:])
    planes[0], planes[1] = changed.real, changed.imag


def _project_both(layout: ParameterLayout, vector: Any, projection: Any, xp: Any) -> None:
    """Apply a registered projection to object and probe."""
    planes = _free_probe(layout, vector)
    phase, absorption = potentials(layout, vector, xp)
    phase, absorption, probe = projection.all_changed(phase, absorption, planes[0] + 1j * planes[1], xp)
    set_potentials(layout, vector, phase, absorption, xp)
    planes[0], planes[1] = probe.real, probe.imag


def _free_probe(layout: ParameterLayout, vector: Any) -> Any:
    """The planes (2, modes, P, P) of the probe. Raises MetadataError if only part of it is refined."""
    if layout.probe.form is not ProbeForm.COMPLEX:
        raise MetadataError("hard constraints of the probe need probe_part = both", "set one or the other")
    return layout.probe_block(vector)
