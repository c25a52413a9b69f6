"""How far the loss of held-out patterns is from that of pure counting noise: what a better model could still gain.

Electrons are counted. Under the right model every pixel has Poisson-distributed counts, and its data term a known mean:
the loss of held-out patterns reaches the sum of these means and goes no lower (as a reduced chi squared reaches 1). If
a trial has reached this loss, no alternative can gain a tenth.
"""

from __future__ import annotations

from contextlib import closing
from functools import lru_cache
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS, pixel_terms
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.schema.model import DoubleArray

FAINTEST, BRIGHTEST, STEPS = 1e-4, 400.0, 240
"""Range of counts for which means are tabulated. Brighter pixels match a normal distribution to within a thousandth."""
DEVIATIONS, FEWEST = 12, 25
"""Range of counts in the sums: beyond the mean by a number of standard deviations plus a number of counts."""


def loss_over_noise(trial: Trial, vector: Any, loss: HeldOutLoss, context: TrialContext) -> float | None:
    """Ratio of the held-out loss to the loss that counting noise would leave under the model ``vector``.

    1 for the right model of counted electrons; more if a model lacks something or there is other noise, less if there
    is less noise than that of counting. None if it cannot be determined: data terms that are no likelihood of counts,
    models that are not compiled, other refined quantities, and on a GPU, where the CPU kernel has not been compiled.
    Takes one pass through the model for each held-out pattern.
    """
    from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice

    problem = trial.problem
    kind = problem.multislice.data_term.kind
    if not isinstance(kind, DataTermKind) or PIXEL_TERMS[kind].likelihood is None or problem.layout.blocks:
        return None
    if not isinstance(vector, np.ndarray):
        return None
    with closing(open_backend("cpu", problem.multislice.part(np.sort(trial.held)), context.threads)) as backend:
        if not isinstance(backend, CompiledMultislice):
            return None
        physical = problem.layout.physical(vector, np)
        intensity = backend.intensities(physical.object, physical.probe)
    counts, means = mean_losses(problem.multislice.data_term)
    expected = np.interp(intensity, counts, means) * problem.multislice.weights
    return loss.mean / max(float(expected.sum(dtype=np.float64)) / len(trial.held), 1e-30)


@lru_cache
def mean_losses(term: DataTerm) -> tuple[DoubleArray, DoubleArray]:
    """Mean counts, ascending, and the mean loss of a pixel with Poisson-distributed counts of each mean."""
    from scipy.special import gammaln, xlogy  # scipy.stats takes a third of a second to import

    means = np.concatenate([[0.0], np.geomspace(FAINTEST, BRIGHTEST, STEPS)])
    losses = np.zeros_like(means)
    for index, mean in enumerate(means):
        counts = np.arange(int(mean + DEVIATIONS * mean**0.5) + FEWEST, dtype=np.float64)
        chances = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
        losses[index] = chances @ pixel_terms(np, term, np.full_like(counts, mean), counts)[0]
    return means, losses
