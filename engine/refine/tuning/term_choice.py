"""Data term of a thin specimen, amplitudes or likelihood, chosen by the correlation of two halves of the data.

The likelihood (``ml``) is all but unbiased, and fits noise and the model's own errors readily. The least squares of
amplitudes (``lsq_sqrt``) are quiet, but where pixels hold few counts they pull what is faint to nothing. Neither wins
everywhere, and no loss tells which does: each is lowest under itself. Two halves of the scan's chessboard do. With
h the correlation of two halves under a term, and x that of one half under the term with the other under ``ml``:

    x / sqrt(h_ml)              correlation of half the data's result with the truth: ml errs by noise alone,
                                and noise of different halves is independent
    x / sqrt(h_ml h)            the share of it that more data cannot repair: bias
    x / sqrt(h_ml h) sqrt(2 h / (1 + h))      what all the data promise (Spearman and Brown's formula for the noise)
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.problem.measurement import Observation
from ptylive.engine.refine.problem.setup import Setup, prepare
from ptylive.engine.refine.problem.strategy import is_thin
from ptylive.engine.refine.results.ring_correlation import tapered
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part, swept
from ptylive.schema.model import Array, DoubleArray, IndexArray
from ptylive.schema.preset import Preset

TERMS = ("ml", "lsq_sqrt")
TRIAL_PATTERNS = 2048
LEAST_PATTERNS = 256
TRIAL_SWEEPS = 3
COUNTING = 0.5
"""Variance over mean of dark pixels below which the patterns are free of noise, and there is nothing to decide."""
MOST_DARK_COUNTS = 1.0
"""Where dark pixels hold more counts than this on average, both terms come to the same."""
SMALLEST_AGREEMENT = 0.05
"""Halves that correlate less promise nothing."""


@dataclass(frozen=True)
class TermChoice:
    """What each data term promises, and the one that promises more."""

    promised: tuple[tuple[str, float], ...]
    """Term and expected correlation with the truth, all data used."""

    @property
    def term(self) -> str:
        """The term to use."""
        return max(self.promised, key=lambda pair: pair[1])[0]

    @property
    def reason(self) -> str:
        """The choice in words."""
        words = ", ".join(f"{promise:.3f} with {term}" for term, promise in self.promised)
        return f"halves of the data promise a correlation of {words}"


def with_chosen_term(
    dataset: Dataset, preset: Preset, context: TrialContext, choice: TermChoice | None = None
) -> Setup:
    """The set-up of a run, its data term chosen by trial where the preset leaves it open; ``choice``: made before."""
    choice = choice or choose_term(dataset, preset, context)
    if choice is None:
        return prepare(dataset, preset, context.start)
    if choice.term == "ml":
        preset = preset.model_copy(update={"algorithm": "ml"})
    setup = prepare(dataset, preset, context.start)
    return replace(setup, strategy=replace(setup.strategy, reason=f"{setup.strategy.reason}; {choice.reason}"))


def choose_term(dataset: Dataset, preset: Preset, context: TrialContext) -> TermChoice | None:
    """The data term of a preset that leaves it open, by short trials on the middle of the scan; None: as it is.

    Only thin specimens recorded as counts are tried: elsewhere the choice does not depend on the dose alone.
    """
    if not _is_open(dataset, preset):
        return None
    part = central_part(dataset, TRIAL_PATTERNS)
    quick = preset.model_copy(update={"refine_drift": False, "update_probe_pos": False})
    seen = Observation.of(part, quick)
    statistics = seen.statistics()
    if not is_thin(quick, statistics, has_start=context.start is not None) or not _faint(statistics):
        return None
    halves = {}
    for term in TERMS:
        context.pause()
        halves[term] = _halves(part, quick.model_copy(update={"algorithm": term}), context, seen)
    return TermChoice(tuple((term, promise(halves[term], halves["ml"])) for term in TERMS))


def promise(halves: tuple[Array, Array], unbiased: tuple[Array, Array]) -> float:
    """Expected correlation with the truth when all data are used, from pictures of halves of the data."""
    own = max(correlation(*halves), SMALLEST_AGREEMENT)
    reference = max(correlation(*unbiased), SMALLEST_AGREEMENT)
    across = (correlation(halves[0], unbiased[1]) + correlation(halves[1], unbiased[0])) / 2
    return across / math.sqrt(reference * own) * math.sqrt(2 * own / (1 + own))


def correlation(first: Array, second: Array) -> float:
    """Of two pictures (Y, X), ramps and borders taken out."""
    a, b = tapered(first), tapered(second)
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum() + 1e-30))


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether the preset leaves the data term to us, and there are frames enough to halve."""
    asked = preset.algorithm != "auto" or not isinstance(preset.loss_offset, str)
    frames = dataset.masks is None and preset.recon_type == "far_field"
    thin = preset.num_slices == 1  # before the patterns are looked at, which means a copy of them
    return frames and thin and not asked and preset.update_obj and len(dataset.patterns) >= LEAST_PATTERNS


def _faint(statistics: PatternStatistics) -> bool:
    """Whether dark pixels hold counted electrons, and few."""
    return 0 < statistics.dark_counts < MOST_DARK_COUNTS and statistics.counting_share > COUNTING


def _halves(part: Dataset, preset: Preset, context: TrialContext, seen: Observation) -> tuple[Array, Array]:
    """Phase in the scanned rectangle, refined from each half of the chessboard."""
    setup = prepare(part, preset, context.start, seen)
    rows, columns = np.divmod(part.point, part.scan_shape[1])
    with closing(open_backend(context.backend, setup.problem, context.threads)) as backend:

        def picture(half: IndexArray) -> DoubleArray:
            return _scanned(setup, backend.to_numpy(swept(setup, backend, preset, half, TRIAL_SWEEPS)))

        parity = (rows + columns) % 2
        return picture(np.flatnonzero(parity == 0)), picture(np.flatnonzero(parity == 1))


def _scanned(setup: Setup, vector: Array) -> DoubleArray:
    transmission, _ = setup.layout.to_complex(vector)
    phase = np.angle(transmission.mean(axis=0)).sum(axis=0).astype(float)
    low, high = (
        (edge - setup.grid.origin_A) / setup.grid.pixel_A
        for edge in (setup.positions_A.min(axis=0), setup.positions_A.max(axis=0))
    )
    (top, left), (bottom, right) = np.floor(low).astype(int), np.ceil(high).astype(int)
    return np.asarray(phase[top : max(bottom, top + 4), left : max(right, left + 4)])
