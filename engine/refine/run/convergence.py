"""Patterns held out of a run with an open number of epochs, and what they show at its end.

A few patterns from all over the scan are left out of sweeps and L-BFGS, so that their loss contains no fitted noise. A
run with a given number of epochs refines all patterns and is judged by their loss. A resumed run keeps its choice.
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.refine.results.convergence import Convergence
from ptylive.engine.refine.results.gain import CERTAIN
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import FALLING, FALLING_EPOCHS
from ptylive.schema.model import IndexArray
from ptylive.schema.preset.solver import SolverSettings

LEAST_PATTERNS = 2048
"""Minimum number of patterns for holding any out; smaller scans need all of them."""
SHARE, MOST = 1 / 128, 256
"""Share and maximum number of held-out patterns: the correlation that an object loses by them at low dose, their share
of the noise, is below 0.001."""
GROUPS = 8
"""Groups of held-out patterns; the scatter between them gives the uncertainty of the fall."""


def count_held_out(count: int) -> int:
    """Return how many of ``count`` patterns are held out."""
    return 0 if count < LEAST_PATTERNS else min(MOST, int(count * SHARE))


def held_out(count: int, seed: int) -> tuple[IndexArray, ...]:
    """Groups (n,) of the numbers of patterns to hold out of ``count``; empty if there are too few patterns."""
    few = np.random.default_rng([seed, 5]).permutation(count)[: count_held_out(count)]
    if not len(few):
        return ()
    return tuple(np.sort(group) for group in np.array_split(few, GROUPS))


def held_out_of(log: Log, settings: SolverSettings, count: int) -> tuple[IndexArray, ...]:
    """Such groups if the number of epochs was left open or the logged run held some out; otherwise none."""
    automatic = isinstance(settings.epoch_max, str)
    if settings.early_stop or len(log.held) != len(log.losses) or not (automatic or log.held):
        return ()
    return held_out(count, settings.seed)


def convergence(log: Log, patterns_held: int, *, at_rest: bool = False) -> Convergence | None:
    """Return what the last epochs of a run show; None if there were too few.

    ``patterns_held``: number of held-out patterns; ``at_rest``: no step lowers the loss any more.
    """
    if at_rest:
        return Convergence(falling=False, fall=0.0, uncertainty=None, held_out=0, at_rest=True)
    if len(log.held) > FALLING_EPOCHS and len(log.held) == len(log.losses):
        before, now = np.asarray(log.held[-1 - FALLING_EPOCHS]), np.asarray(log.held[-1])
        scale = max(abs(float(now.mean())), 1e-30) * FALLING_EPOCHS
        falls = (before - now) / scale
        fall, scatter = float(falls.mean()), float(falls.std(ddof=1)) / math.sqrt(len(falls))
        if not math.isfinite(fall):
            return None
        return Convergence(fall > FALLING and fall > CERTAIN * scatter, fall, scatter, patterns_held)
    if len(log.losses) <= FALLING_EPOCHS or len(set(log.phases[-1 - FALLING_EPOCHS :])) > 1:
        return None  # losses of sweeps are recorded while the parameters move
    first, last = log.losses[-1 - FALLING_EPOCHS], log.losses[-1]
    fall = (first - last) / (max(abs(last), 1e-30) * FALLING_EPOCHS)
    return Convergence(fall > FALLING, fall, None, 0) if math.isfinite(fall) else None
