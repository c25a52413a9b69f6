"""Settings of trials that differ from those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ptylive.schema.preset import Preset
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.preset.propagation import THICKNESS

NO_CHANGES: Mapping[str, object] = MappingProxyType({})


def of_trials(preset: Preset, modes: int | Auto, *, frames: bool) -> Preset:
    """Preset of a trial: nothing is refined that could hide the error, and no background absorbs the residual."""
    fixed: dict[str, object] = {
        "algorithm": "lsq_sqrt" if preset.loss.algorithm == "auto" and frames else preset.loss.algorithm,
        "update_probe_pos": False,
        "update_slice_distances": False,
        "update_thickness": False,
        "update_aberrations": False,
        "update_tilts": False,
        "opr_components": 0,
        "probe_modes": modes,
        "batch_size": "auto",
    }
    return preset.model_copy(update=fixed)


def in_one_slice(preset: Preset, changes: Mapping[str, object] = NO_CHANGES) -> Preset:
    """Preset of a trial in one slice, with other ``changes``; the thickness of one slice cannot vary over the field."""
    instrument = preset.instrument
    terms = tuple(term for term in instrument.field_terms if term != THICKNESS)
    order = instrument.field_order if terms else 0
    one_slice = {"num_slices": 1, "total_thickness_A": None, "slice_distances_A": None, "field_order": order}
    return preset.model_copy(update={**changes, **one_slice, "field_terms": terms or instrument.field_terms})
