"""Features that the fused kernel is compiled with, for one problem."""

from __future__ import annotations

from functools import reduce
from operator import or_

from ptylive.engine.backend.multislice.fused.plan import Feature
from ptylive.engine.backend.multislice.problem import DataTermKind, MultisliceProblem
from ptylive.engine.backend.multislice.specialised.intensity_comparison import compared_by_pixel

IN_STAGES = Feature.TO_DETECTOR | Feature.FROM_DETECTOR
"""Two runs of the kernel, because whole arrays do the comparison."""


def features_of(problem: MultisliceProblem) -> Feature:
    """Features of a kernel for this problem, independent of which quantities are refined."""
    model = problem.model
    features = Feature.ANY if compares_in_kernel(problem) else Feature.ANY | IN_STAGES
    if problem.offsets_px is not None:
        features |= Feature.EXITS
    if model is None:
        return features
    tilts = model.tilts
    parts = {
        Feature.SEVERAL_PROBES: model.probe_marker is not None,
        Feature.ENTRIES: tilts is not None and tilts.before,
        Feature.EXITS: tilts is not None and tilts.after,
        Feature.OWN_SPACES: model.stretched or (tilts is not None and tilts.inside),
        Feature.ABERRATIONS: model.aberrations is not None,
        Feature.PLATES: model.phase_plates is not None,
        Feature.VARIED: model.varying_modes > 0,
        Feature.NEAR_FIELD: model.near_field is not None,
        Feature.BANDED: model.band is not None,
    }
    return reduce(or_, (feature for feature, present in parts.items() if present), features)


def compares_in_kernel(problem: MultisliceProblem) -> bool:
    """Whether the kernel supports the data term, and model pixels are the detector's pixels."""
    built_in = isinstance(problem.data_term.kind, DataTermKind)
    return built_in and (problem.model is None or compared_by_pixel(problem.model))
