"""Coefficients of a scan whose pattern wandered over the detector, corrected to those of a pattern at rest."""

from __future__ import annotations

import logging

import numpy as np

from ptylive.engine.bases.at_rest import AtRest
from ptylive.engine.bases.stream import stream_disc
from ptylive.engine.calibrate.descan.measurement import first_look
from ptylive.engine.descan import beside_masks
from ptylive.engine.imaging.accumulation.reduction import VectorReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema.detector import Descan
from ptylive.schema.model import DoubleArray

log = logging.getLogger(__name__)

LEAST_PX = 0.05
"""Largest displacement for which coefficients are left as they are."""
MOST_SHARE = 0.15
"""Share of the disc's radius beyond which the masks have missed what no calculation can restore."""


def wander_of(store: Store) -> Descan | None:
    """Return the descan of a scan of coefficients, as given or as shown by the centres of mass; None for none."""
    given, disc = store.header.detector.descan_px, stream_disc(store.header)
    if given is not None:
        return Descan.of(given)
    return None if disc is None else first_look(store, disc[1], lines=False)


def vectors_at_rest(store: Store) -> Store:
    """Return the store itself if the patterns lie still or masks followed them closely, otherwise a corrected one."""
    wander, reduction = wander_of(store), store.reduction
    if not isinstance(reduction, VectorReduction) or (wander is None and store.moved is None):
        return store
    descan = Descan.of([0]) if wander is None else wander
    offset, visited = left_px(store, descan), store.frames > 0
    reach = float(np.abs(offset[visited]).max(initial=0.0))
    if reach < LEAST_PX and not descan.moves:
        return store
    bins = store.bins.copy()
    disc = stream_disc(store.header)
    if reach >= LEAST_PX and disc is not None:
        _warn_of_reach(store, reach, disc[1])
        frames = store.frames[visited, None]
        at_rest = AtRest.of(reduction.basis, disc[1], reach).coefficients(store.bins[visited] / frames, offset[visited])
        bins[visited] = at_rest * frames
    return store.at_rest(descan, bins, store.regions + reduction.change_of_regions(store.bins, bins))


def left_px(store: Store, descan: Descan) -> DoubleArray:
    """Return how far the pattern of each scan point lay from the place of the masks, (points, 2)."""
    wander = descan.minus(store.descan).at_points(np.arange(len(store.frames)), store.shape)
    if store.moved is None:
        return wander
    moved = store.moved / np.maximum(store.frames, 1)[:, None]
    return beside_masks(store.header.basis, wander, moved, store.moments)


def _warn_of_reach(store: Store, reach_px: float, radius_px: float) -> None:
    if reach_px > MOST_SHARE * radius_px:
        log.warning(
            "scan %s: the pattern was up to %.1f detector pixels off the masks of its coefficients (descan): maps of"
            " the bright field lack what fell outside the masks; compress with a given descan_px",
            store.header.series,
            reach_px,
        )
