"""Small random problems of every forward model, for tests of the backends."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.description import (
    AberrationGroups,
    CompressedPatterns,
    ForwardModel,
    NearField,
    PerpendicularTerm,
    Tilts,
)
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import (
    CoefficientTermKind,
    Corrections,
    DataTerm,
    DataTermKind,
    MultisliceProblem,
)

P, COUNT, PIXEL_A, WAVELENGTH_A = 8, 3, 0.8, 0.03


def make_problem(kind=DataTermKind.AMPLITUDE, slices=1, offset=0.1, window=P, **parts):
    """Random counts (or coefficients) of a window of P pixels or another size, upsampled if requested."""
    rng = np.random.default_rng(3 + slices)
    size = window * parts.get("upsampling", 1)
    q = np.fft.fftfreq(size, PIXEL_A)
    phase_per_A = -np.pi * WAVELENGTH_A * (q[:, None] ** 2 + q[None, :] ** 2)
    thickness = tuple(8.0 + np.arange(slices))
    distances = np.asarray(thickness[:-1]).reshape(-1, 1, 1)
    return MultisliceProblem(
        patterns=rng.poisson(3, (COUNT, window, window)).astype("uint16"),
        weights=(rng.random((window, window)) > 0.1).astype(np.float32),
        corners=np.stack([rng.integers(0, 4, COUNT), rng.integers(0, 3, COUNT)], 1),
        shifts_px=rng.random((COUNT, 2)) - 0.5,
        object_shape=(slices, size + 4, size + 3),
        propagators=np.exp(1j * phase_per_A * distances),
        data_term=DataTerm(kind, offset),
        phase_per_A=phase_per_A,
        model=ForwardModel(PIXEL_A, WAVELENGTH_A, thickness, **parts),
    )


def moved_patterns(problem):
    """The same patterns, each assigned another place on the detector, off by whole and fractional pixels."""
    offsets = np.random.default_rng(9).normal(scale=1.5, size=(problem.count, 2))
    return replace(problem, offsets_px=offsets)


def make_planes(problem, modes, object_modes, probes=1):
    rng = np.random.default_rng(modes)
    shape = (object_modes * problem.object_shape[0], *problem.object_shape[1:])
    slices = np.exp(0.5j * rng.random(shape)) * (1 - 0.1 * rng.random(shape))
    size = problem.window
    q = np.fft.fftfreq(size)
    probe = np.exp(-20 * (q[:, None] ** 2 + q[None, :] ** 2)) * (
        rng.normal(size=(probes * modes, size, size)) + 1j * rng.normal(size=(probes * modes, size, size))
    )
    probe *= np.sqrt(probes * 3 * P**2 / (np.abs(probe) ** 2).sum())
    return np.stack([slices.real, slices.imag]), np.stack([probe.real, probe.imag])


def every_correction(problem):
    """All corrections that the model supports, away from the model's values."""
    rng, model = np.random.default_rng(8), problem.model
    tilts, groups = model.tilts, model.aberrations
    return Corrections(
        shifts_px=problem.shifts_px + 0.3 * rng.normal(size=problem.shifts_px.shape),
        current=rng.uniform(0.8, 1.2, COUNT),
        background=None if model.compressed is not None else 0.5 * rng.random(problem.patterns.shape[1:]),
        distances_A=rng.uniform(8, 12, problem.object_shape[0] - 1) if problem.object_shape[0] > 1 else None,
        tilts=None if tilts is None else tilts.tangents + 2e-3 * rng.normal(size=tilts.tangents.shape),
        aberrations_A=None if groups is None else groups.values_A + 3 * rng.normal(size=groups.values_A.shape),
        spread_px2=None if model.spread is None else np.array([0.7]),
        stretch=0.2 * rng.normal(size=COUNT) if model.stretched else None,
        opr_components=rng.normal(size=(2, 2 * model.varying_modes, problem.window, problem.window))
        if model.varying_modes
        else None,
        opr_coefficients=0.3 * rng.normal(size=(COUNT, 2)) if model.varying_modes else None,
    )


def tilts(mode, each=True):
    return Tilts(4e-3 * np.random.default_rng(4).normal(size=(COUNT if each else 1, 6)), mode)


def groups(size=P):
    q = np.fft.fftfreq(size, PIXEL_A)
    y, x = q[:, None] + 0 * q, q[None, :] + 0 * q[:, None]
    rates = np.pi * WAVELENGTH_A * np.stack([y**2 + x**2, y**2 - x**2, 2 * x * y])
    values = np.array([[20.0, -5.0, 3.0], [0.0, 8.0, -9.0]])
    return AberrationGroups(rates.astype(np.float32), values, np.array([0, 1, 1]))


def near_field():
    return NearField(np.array([-60.0, 30.0, 110.0]), Cs_A=2e6, alpha_rad=3e-3)


def masks(signed, size=P):
    """Four orthonormal masks; unsigned masks keep products with modelled counts at or above 0."""
    rng = np.random.default_rng(5)
    if signed:
        return np.linalg.qr(rng.normal(size=(size * size, 4)))[0].T.astype(np.float32)
    which = rng.integers(0, 5, size * size)
    made = np.stack([which == k for k in range(4)]).astype(np.float32)
    return made / np.sqrt(made.sum(1, keepdims=True))


def coefficients(kind, extra_terms=True, size=P):
    rng = np.random.default_rng(6)
    signed = kind in (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT)
    shown = masks(signed, size)
    perpendicular = tuple(
        PerpendicularTerm(
            (rng.random(size * size) > 0.3).astype(np.float32),
            np.array(rows),
            rng.random(COUNT).astype(np.float32) * 9,
            0.02,
        )
        for rows in ([0, 1, 2], [3])
    )
    return CompressedPatterns(
        values=(5 * rng.random((COUNT, 4))).astype(np.float32),
        masks=shown,
        whitening=(np.eye(4) + 0.2 * rng.normal(size=(4, 4))).astype(np.float32) if signed else None,
        perpendicular=perpendicular if extra_terms else (),
        edge=0.3 * rng.random(size * size).astype(np.float32) if extra_terms else None,
    )


STEPS = {"tilts": 1e-3, "aberrations_A": 5.0, "distances_A": 2.0}
"""Size of the random change along which a derivative is taken; 0.3 for all others."""


def check_gradients(problem, modes, object_modes, probes=1, without=()):
    """Check derivatives by object, probe and every correction, each along a random direction."""
    backend = GeneralMultislice(problem, np, "complex128", "double")
    planes, probe = make_planes(problem, modes, object_modes, probes)
    corrections = replace(every_correction(problem), **dict.fromkeys(without))

    def loss(planes=planes, probe=probe, **changes):
        return backend.loss_and_gradient(planes, probe, corrections=replace(corrections, **changes)).loss

    result = backend.loss_and_gradient(planes, probe, corrections=corrections)
    rng = np.random.default_rng(1)
    derivatives = {"planes": (planes, result.object), "probe": (probe, result.probe)}
    derivatives |= {
        name: (value, getattr(result.corrections, name))
        for name, value in vars(corrections).items()
        if value is not None
    }
    for name, (at, derivative) in derivatives.items():
        direction = STEPS.get(name, 0.3) * rng.normal(size=at.shape)
        h = 2e-3
        values = [loss(**{name: at + k * h * direction}) for k in (-2, -1, 1, 2)]
        expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        # fourth order: truncation leaves about 1e-8 at these steps; a derivative near 0 is judged relative to the loss
        assert (derivative * direction).sum() == pytest.approx(expected, rel=1e-6, abs=1e-8 * abs(values[0])), name
