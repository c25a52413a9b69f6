"""Which picture is made of which arrays, by name."""

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
from ptylive.dashboard.pictures.picture import FFT, OVERWRITING, SLICE, Picture, RawPicture, Surroundings
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
        raws = [overwritten(one, surroundings) for one in (raw, *more)]
        if all(merged is not one for merged, one in zip(raws, (raw, *more), strict=True)):
            surroundings = replace(surroundings, coverage=None)
        return replace(prepare(raws[0], version, surroundings, wanted=plain, more=raws[1:]), name=name)
    if name.startswith(SLICE):
        number = min(int(name.removeprefix(SLICE)), len(raw.data)) - 1
        return object_picture((replace(raw, name=name, data=raw.data[number]),), version, surroundings)
    recipe = fft_picture if name.endswith(FFT) else RECIPES.get(name, map_picture)
    return recipe((raw, *more), version, surroundings)


def sources_of(wanted: str) -> tuple[str, ...]:
    """Names of the arrays that a picture is made from."""
    if wanted.startswith(SLICE):
        return ("slices",)
    wanted = wanted.removesuffix(OVERWRITING)
    return DERIVED.get(wanted, (wanted.removesuffix(FFT),))


def overwritten(raw: RawPicture, surroundings: Surroundings) -> RawPicture:
    """A map over the one of the scan before: where no frame has arrived, the old one is still to be seen.

    The map itself where there is no older one of the same size, or nothing is missing.
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
DERIVED: Mapping[str, tuple[str, ...]] = {
    "pattern_log": ("pattern",),
    "pattern_mean_log": ("pattern_mean",),
    "pattern_here_log": ("pattern_here",),
    "dpc": ("com_row", "com_col"),
    "object_wheel": ("object", "object_amplitude"),
    "probe_fourier": ("probe",),
}
DERIVED_OF_A_RUN = ("object_wheel", "probe_fourier")
"""Pictures that are made of others of a refinement."""
