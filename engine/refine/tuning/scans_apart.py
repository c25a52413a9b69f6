"""Decisions of short trials for several scans of one place: each scan is treated alone, in the model of one scan.

A drift belongs to one acquisition, and its lattice is that of one raster, so each scan has a separate drift, found and
judged as for a single scan. The orientation between scan and detector is the same for all scans and determined from the
first, which is tilted least.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.problem.prepare import NO_DRIFT, measure
from ptylive.engine.refine.tuning.drift_check import with_checked_drift
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

OF_MANY = {
    "scan_tilts_mrad": None,
    "scan_shifts_A": None,
    "aberration_marker": None,
    "probe_marker": None,
    "update_aberrations": False,
}
"""Settings that concern several scans, with their values for a single one."""
SAME_PLACE_PX = 1e-9
"""Offsets that differ by less are one offset, subtracted from itself."""


def single_scan(dataset: Dataset, scan: int) -> Dataset:
    """One of the joined scans, on its own raster and with its own beam centre."""
    indices = np.flatnonzero(dataset.scan_of == scan)
    part = dataset.part(indices)
    row, column = np.divmod(part.point, dataset.scan_shape[1])
    row = row - row.min()
    shape = int(row.max()) + 1, int(column.max()) + 1
    offsets_px, beam = part.offsets_px, dataset.beam_center_px
    if offsets_px is not None:
        beam = beam + offsets_px.mean(axis=0)
        offsets_px = offsets_px - offsets_px.mean(axis=0)
        offsets_px = offsets_px if np.abs(offsets_px).max() > SAME_PLACE_PX else None
    return replace(
        part,
        point=row * shape[1] + column,
        scan_shape=shape,
        beam_center_px=beam,
        offsets_px=offsets_px,
        reach_A=None,
        scan_of=None,
        scan_names=(),
    )


def single_scan_settings(preset: Preset, scan: int) -> Preset:
    """Settings for one of several scans: its tilt becomes that of the specimen."""
    given = preset.scans.scan_tilts_mrad
    tilt = (0.0, 0.0) if given is None else given[scan]
    inside = ((0.0, 0.0, *tilt, 0.0, 0.0),) if any(tilt) and preset.object.num_slices != 1 else None
    return preset.model_copy(update={**OF_MANY, "tilts_mrad": inside})


def without_drifts(tuned: Tuned, context: TrialContext) -> Tuned:
    """Remove the drift of each of several scans where lattice and trials agree on it; a single scan stays as it is."""
    dataset, preset = tuned.dataset, tuned.preset
    if dataset.scan_of is None or preset.start.refine_drift is False:
        return tuned
    positions_A, words, drifts = dataset.positions_A.copy(), list(tuned.words), list[Drift | None]()
    for scan, name in enumerate(dataset.scan_names):
        single = Tuned(single_scan(dataset, scan), single_scan_settings(preset, scan))
        _, measured = with_checked_drift(measure(single.dataset, single.preset), single, context, may_turn=False)
        drifts.append(measured.drift)
        words.append(f"{name}: {NO_DRIFT if measured.drift is None else measured.drift.reason}")
        if measured.drift is not None:
            positions_A[dataset.scan_of == scan] = measured.dataset.positions_A
    dataset = replace(dataset, positions_A=positions_A)
    return replace(tuned, dataset=dataset, words=tuple(words), scan_drifts=tuple(drifts))
