"""Groups of a results file in addition to object and probe: parameter scans, stages, and quality of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.prior import PriorReport
from ptylive.engine.refine.results.ring_correlation import Validation

if TYPE_CHECKING:
    import h5py

    from ptylive.engine.refine.results.refinement_result import RefineResult, StageEnd

COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}


def _write_deviation(group: h5py.Group, deviation: PhaseDeviation) -> None:
    """Write the scatter of the phase of all slices together due to counting noise."""
    group.create_dataset("phase_deviation", data=deviation.map_rad, **COMPRESSION)
    group["phase_deviation"].attrs.update(
        {
            "units": "rad",
            "long_name": "standard deviation of the phase, rad",
            "median": deviation.median_rad,
            "patterns": deviation.patterns,
            "lower_bound": deviation.lower_bound,
            **{name: group["object"].attrs[name] for name in ("sampling_A", "origin_A")},
        }
    )


def write_curve(group: h5py.Group, curve: Curve) -> None:
    """Write a scan of a calibration value before the run."""
    group["values"] = np.asarray(curve.values, dtype=np.float64)
    group["loss"] = np.asarray(curve.losses, dtype=np.float64)
    group.attrs.update(
        {
            "start": curve.start,
            "best": curve.best,
            "uncertainty": curve.uncertainty,
            "applied": curve.applied,
            "reason": curve.reason,
        }
    )


def write_stage(group: h5py.Group, stage: StageEnd) -> None:
    """Write one of several consecutive refinements."""
    group.attrs.update(
        {
            "name": stage.name,
            "first_epoch": stage.first_epoch,
            "preset": stage.settings,
            "state": stage.state,
            "algorithm": stage.algorithm,
            "reason": stage.reason,
            "message": stage.message,
        }
    )


def write_judged(group: h5py.Group, result: RefineResult) -> None:
    """Write the quality measures of a result, as far as they were requested."""
    if result.validation is not None:
        _write_validation(group.create_group("validation"), result.validation)
    if result.phase_deviation is not None:
        _write_deviation(group, result.phase_deviation)
    if (quality := result.held_out) is not None:
        group["held_out"] = np.asarray(quality.groups, dtype=np.float64)
        about = {"mean": quality.mean, "patterns": quality.patterns, "sweeps": quality.sweeps}
        group["held_out"].attrs.update({**about, "meaning": "minus log likelihood per pattern held out, by groups"})
    if result.prior is not None:
        _write_prior(group.create_group("prior"), result.prior)


def _write_prior(group: h5py.Group, prior: PriorReport) -> None:
    """Write the outcome of networks that were trained after the pixels."""
    group["losses_held"] = prior.losses_held
    group.attrs.update(
        {
            "first_epoch": prior.first_epoch,
            "epoch": prior.epoch,
            "held_out": prior.held_out,
            "gain": (prior.over_pixels.share, prior.over_pixels.deviation),
            "gain_over_chance": (prior.over_chance.share, prior.over_chance.deviation),
            "warning": prior.warning,
            "sentence": prior.sentence,
        }
    )
    if prior.bands is not None:
        group.attrs["gain_of_bands"] = (prior.bands.share, prior.bands.deviation)


def _write_validation(group: h5py.Group, validation: Validation) -> None:
    """Write half-data ring correlation and null test."""
    for name in ("frequencies_invA", "halves", "null", "at_harmonic"):
        group[name] = np.asarray(getattr(validation, name))
    group.attrs["correlation"] = validation.correlation
    group.attrs["summary"] = validation.summary()
