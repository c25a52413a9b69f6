"""Recipes by name: which picture is made from which arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ptylive.dashboard.pictures.map_pictures import (
    dpc_picture,
    fft_picture,
    log_pattern_picture,
    map_picture,
    pattern_picture,
)
from ptylive.dashboard.pictures.picture import (
    FFT,
    OVERWRITING,
    SLICE,
    SLICE_AMPLITUDE,
    SLICE_WHEEL,
    Picture,
    RawPicture,
    Surroundings,
)
from ptylive.dashboard.pictures.refined_pictures import (
    amplitude_picture,
    deviation_picture,
    fourier_probe_picture,
    object_picture,
    object_wheel_picture,
    probe_picture,
)
from ptylive.pictures.sampling import stretched

Recipe = Callable[[Sequence[RawPicture], int, Surroundings], Picture]


def prepare(
    raw: RawPicture, version: int, surroundings: Surroundings, *, wanted: str = "", more: Sequence[RawPicture] = ()
) -> Picture:
    """The picture ``wanted`` (default: the name of ``raw``) made from the arrays that :func:`sources_of` names."""
    name = wanted or raw.name
    if name.endswith(OVERWRITING):
        plain = name.removesuffix(OVERWRITING)
        raws = [overwritten(source, surroundings) for source in (raw, *more)]
        if all(merged is not source for merged, source in zip(raws, (raw, *more), strict=True)):
            surroundings = replace(surroundings, coverage=None)
        return replace(prepare(raws[0], version, surroundings, wanted=plain, more=raws[1:]), name=name)
    if is_slice(name):
        recipe, number = OF_A_SLICE[_slice_prefix(name)][1], int(name.partition(":")[2])
        return replace(recipe([_single_slice(each, number) for each in (raw, *more)], version, surroundings), name=name)
    recipe = fft_picture if name.endswith(FFT) else RECIPES.get(name, map_picture)
    return recipe((raw, *more), version, surroundings)


def sources_of(wanted: str) -> tuple[str, ...]:
    """Names of the arrays that a picture is made from."""
    if is_slice(wanted):
        return OF_A_SLICE[_slice_prefix(wanted)][0]
    wanted = wanted.removesuffix(OVERWRITING)
    return DERIVED.get(wanted, (wanted.removesuffix(FFT),))


def is_slice(name: str) -> bool:
    """Whether a picture shows a single slice."""
    return _slice_prefix(name) in OF_A_SLICE


def _slice_prefix(name: str) -> str:
    return f"{name.partition(':')[0]}:"


def _single_slice(raw: RawPicture, number: int) -> RawPicture:
    """The slice with a number from 1; the last slice if there are now fewer."""
    return replace(raw, data=raw.data[min(number, len(raw.data)) - 1])


def overwritten(raw: RawPicture, surroundings: Surroundings) -> RawPicture:
    """Draw a map over the one of the previous scan, which stays visible where no frame has arrived.

    Returns the map itself if there is no older one of the same size, or if nothing is missing.
    """
    before, coverage = surroundings.before.get(raw.name), surroundings.coverage
    if before is None or coverage is None or before.data.shape != raw.data.shape or coverage.all():
        return raw
    return replace(raw, data=np.where(stretched(coverage, raw.data.shape), raw.data, before.data))


RECIPES: Mapping[str, Recipe] = {
    "pattern": pattern_picture,
    "pattern_mean": pattern_picture,
    "pattern_here": pattern_picture,
    "pattern_log": log_pattern_picture,
    "pattern_mean_log": log_pattern_picture,
    "pattern_here_log": log_pattern_picture,
    "object": object_picture,
    "object_deviation": deviation_picture,
    "object_amplitude": amplitude_picture,
    "object_wheel": object_wheel_picture,
    "probe": probe_picture,
    "probe_fourier": fourier_probe_picture,
    "dpc": dpc_picture,
}
OF_A_SLICE: Mapping[str, tuple[tuple[str, ...], Recipe]] = {
    SLICE: (("slices",), object_picture),
    SLICE_AMPLITUDE: (("slice_amplitudes",), amplitude_picture),
    SLICE_WHEEL: (("slices", "slice_amplitudes"), object_wheel_picture),
}
"""Arrays from which pictures of single slices are cut, and how each is drawn."""
DERIVED: Mapping[str, tuple[str, ...]] = {
    "pattern_log": ("pattern",),
    "pattern_mean_log": ("pattern_mean",),
    "pattern_here_log": ("pattern_here",),
    "dpc": ("com_row", "com_col"),
    "object_wheel": ("object", "object_amplitude"),
    "probe_fourier": ("probe",),
}
DERIVED_OF_A_RUN = ("object_wheel", "probe_fourier")
"""Pictures that are derived from others of a refinement."""
