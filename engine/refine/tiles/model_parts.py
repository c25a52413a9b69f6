"""Forward models beyond the plain far field, serialised for a worker; per-pattern data go with their patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.engine.backend.multislice.description import (
    AberrationGroups,
    ForwardModel,
    NearField,
    PointSpread,
    SplitStep,
    Tilts,
)
from ptylive.schema.model import Array

PREFIX = "model_"
"""Prefix of the names of a model's arrays among those of a tile."""


def beyond_tiles(model: ForwardModel) -> str:
    """Features of a model that a worker does not support, in words; the empty string if it supports all."""
    parts = {
        "several probes": model.probe_marker is not None,
        "phase plates": model.phase_plates is not None,
        "a probe that varies": model.varying_modes > 0,
        "a thickness that varies": model.stretched,
        "coefficients": model.compressed is not None,
    }
    return ", ".join(feature for feature, present in parts.items() if present)


def model_parts(model: ForwardModel | None) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """Plain values and arrays of a model to which :func:`beyond_tiles` has no objection."""
    if model is None:
        return None, {}
    tilts, groups, near_field, spread = model.tilts, model.aberrations, model.near_field, model.spread
    plain = {
        "pixel_A": model.pixel_A,
        "wavelength_A": model.wavelength_A,
        "thickness_A": list(model.thickness_A),
        "split": str(model.split),
        "upsampling": model.upsampling,
        "tilts": None if tilts is None else [tilts.mode, tilts.fixed],
        "near_field": None if near_field is None else [near_field.Cs_A, near_field.alpha_rad],
        "spread": None if spread is None else spread.variance_px2,
    }
    arrays = {
        "band": model.band,
        "tangents": None if tilts is None else tilts.tangents,
        "phase_per_A": None if groups is None else groups.phase_per_A,
        "values_A": None if groups is None else groups.values_A,
        "group": None if groups is None else groups.group,
        "defocus_A": None if near_field is None else near_field.defocus_A,
        "spread_image": None if spread is None else spread.image,
    }
    return plain, {PREFIX + name: value for name, value in arrays.items() if value is not None}


def model_of(plain: Mapping[str, Any] | None, arrays: Mapping[str, Array]) -> ForwardModel | None:
    """Inverse of :func:`model_parts`; ``arrays`` may contain others, too."""
    if plain is None:
        return None
    named = {name.removeprefix(PREFIX): value for name, value in arrays.items() if name.startswith(PREFIX)}
    tilts, near_field, spread = plain["tilts"], plain["near_field"], plain["spread"]
    groups = AberrationGroups(named["phase_per_A"], named["values_A"], named["group"]) if "group" in named else None
    return ForwardModel(
        pixel_A=plain["pixel_A"],
        wavelength_A=plain["wavelength_A"],
        thickness_A=tuple(plain["thickness_A"]),
        split=SplitStep(plain["split"]),
        band=named.get("band"),
        tilts=None if tilts is None else Tilts(named["tangents"], *tilts),
        aberrations=groups,
        near_field=None if near_field is None else NearField(named["defocus_A"], *near_field),
        upsampling=plain["upsampling"],
        spread=None if spread is None else PointSpread(spread, named.get("spread_image")),
    )
