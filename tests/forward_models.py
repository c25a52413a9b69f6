"""Every forward model by name, for tests of the backends, and how much two of them may differ."""

from dataclasses import replace

import numpy as np
from forward_problems import COUNT, P, coefficients, groups, near_field, tilts

from ptylive.engine.backend.multislice.description import PointSpread, SplitStep
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind


def band(size=P):
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    return np.clip((0.35 - q) * 20, 0, 1).astype(np.float32)


def plates(size=P):
    return np.exp(1j * np.random.default_rng(3).normal(size=(COUNT, size, size)))


def compressed(size, kind, extra=True):
    return {"kind": kind, "compressed": coefficients(kind, extra, size)}


def models(size):
    """Every forward model, for windows of one size."""
    spread = np.zeros((size, size), np.float32)
    spread[:2, :3] = [[0.6, 0.1, 0.05], [0.2, 0.05, 0]]
    return {
        "tilts before": {"tilts": tilts(2)},
        "tilts behind": {"tilts": tilts(1)},
        "tilts inside": {"slices": 3, "tilts": tilts(0)},
        "tilts everywhere": {"slices": 3, "tilts": tilts(4)},
        "one tilt of all": {"slices": 2, "tilts": tilts(4, each=False)},
        "aberrations": {"aberrations": groups(size)},
        "phase plates": {"phase_plates": plates(size), "aberrations": groups(size)},
        "plates alone": {"phase_plates": plates(size)},
        "several probes": {"probe_marker": np.array([1, 0, 1]), "probes": 3},
        "several probes behind plates": {
            "probe_marker": np.array([1, 0, 1]),
            "probes": 2,
            "phase_plates": plates(size),
        },
        "a probe that varies": {"varying_modes": 1, "aberrations": groups(size)},
        "two modes that vary": {"varying_modes": 2},
        "band": {"slices": 2, "band": band(size)},
        "near field": {"slices": 2, "near_field": near_field(), "tilts": tilts(4)},
        "sharp near field": {"near_field": replace(near_field(), alpha_rad=0.0), "tilts": tilts(0)},
        "near field in a band": {"near_field": near_field(), "band": band(size)},
        "second order": {"slices": 2, "split": SplitStep.SECOND_ORDER, "tilts": tilts(4)},
        "fourth order": {"slices": 2, "split": SplitStep.FOURTH_ORDER},
        "fourth order to an image": {"slices": 2, "split": SplitStep.FOURTH_ORDER, "near_field": near_field()},
        "thickness": {"slices": 3, "stretched": True, "tilts": tilts(0)},
        "upsampling": {"window": size // 2, "upsampling": 2, "kind": DataTermKind.POISSON},
        "point spread": {"spread": PointSpread(0.4, spread)},
        "least squares of coefficients": compressed(size, CoefficientTermKind.LEAST_SQUARES),
        "plain coefficients": compressed(size, CoefficientTermKind.LEAST_SQUARES, extra=False),
        "coefficients of roots": compressed(size, CoefficientTermKind.ROOT),
        "coefficients, Gauss": compressed(size, CoefficientTermKind.GAUSS),
        "coefficients, Poisson": compressed(size, CoefficientTermKind.POISSON),
    }


def agree(name, found, expected, share):
    assert found.shape == expected.shape, name
    assert np.linalg.norm(found - expected) <= share * np.linalg.norm(expected), name
