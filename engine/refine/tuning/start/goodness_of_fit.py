"""How far patterns held out are from what counting noise leaves of their loss: what no better model can gain.

Electrons are counted. Under the right model every pixel has counts of a Poisson distribution, and so its data term a
mean that is known: the loss of patterns held out comes to the sum of these and no lower (as a reduced chi squared comes
to 1). Where a trial is there already, nothing that is tried in its place can gain a tenth.
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
"""Counts between which means are tabled. Brighter pixels have what a normal distribution has, to a thousandth."""
DEVIATIONS, FEWEST = 12, 25
"""Counts that are summed over: beyond the mean by a number of standard deviations, and by one of counts."""


def loss_over_noise(trial: Trial, vector: Any, loss: HeldOutLoss, context: TrialContext) -> float | None:
    """The loss of the patterns held out over what counting noise would leave of it under the model ``vector``.

    1 for the right model of counted electrons; more where a model lacks something or there is other noise, less where
    there is less noise than that of counting. None where nothing tells: data terms that are no likelihood of counts,
    models that are not compiled, other quantities that are refined, and on a GPU, where nothing has compiled the
    processor's kernel. Takes one way through the model for each pattern held out.
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
    """Mean counts, rising, and the mean loss of a pixel that has these, its own counts a Poisson distribution's."""
    from scipy.special import gammaln, xlogy  # scipy.stats takes a third of a second to import

    means = np.concatenate([[0.0], np.geomspace(FAINTEST, BRIGHTEST, STEPS)])
    losses = np.zeros_like(means)
    for place, mean in enumerate(means):
        counts = np.arange(int(mean + DEVIATIONS * mean**0.5) + FEWEST, dtype=np.float64)
        chances = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
        losses[place] = chances @ pixel_terms(np, term, np.full_like(counts, mean), counts)[0]
    return means, losses
