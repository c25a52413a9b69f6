"""How far the loss of held-out patterns is from that of pure counting noise: what a better model could still gain.

Electrons are counted. Under the right model every pixel has Poisson-distributed counts, and its data term a known mean:
the loss of held-out patterns reaches the sum of these means and goes no lower (as a reduced chi squared reaches 1). If
a trial has reached this loss, no alternative can gain a tenth.
"""

from __future__ import annotations

import math
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS, pixel_terms
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.few_electrons import NOISE_SPREAD
from ptylive.engine.refine.problem.prepare import Problem, by_likelihood
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.schema.model import DoubleArray

FAINTEST, BRIGHTEST, STEPS = 1e-4, 400.0, 240
"""Range of electrons for which means are tabulated. Brighter pixels are normally distributed to within a thousandth."""
DEVIATIONS, FEWEST = 12, 25
"""Range of electrons in the sums: beyond the mean by a number of standard deviations plus a number of electrons."""
LEVEL = (DataTermKind.AMPLITUDE, DataTermKind.POISSON, DataTermKind.CHI_SQUARED)
"""Data terms for which a pixel leaves the same noise whatever its number of electrons."""
SAMPLED, COMPARED = 512, 256
"""Number of patterns whose mean is used to estimate the counting noise, and whose likelihood compares runs."""
ELECTRONS = 1.3
"""Variance over mean of the faintest pixels up to which counts are taken for electrons: 1 to 1.3 in most scans."""


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
    with closing(open_backend("cpu", problem.multislice.part(np.sort(trial.held_out)), context.threads)) as backend:
        if not isinstance(backend, CompiledMultislice):
            return None
        physical = problem.layout.physical(vector, np)
        intensity = backend.intensities(physical.object, physical.probe)
    counts, means = mean_losses(problem.multislice.data_term)
    expected = np.interp(intensity, counts, means) * problem.multislice.weights
    return loss.mean / max(float(expected.sum(dtype=np.float64)) / len(trial.held_out), 1e-30)


class LikelihoodLeft(NamedTuple):
    """What a finished model leaves of the likelihood of counts."""

    over_noise: float
    """Ratio to what counting noise leaves."""
    model_error: float
    """Relative error of the modelled counts, root mean square over all counts, that leaves as much more than noise.

    Unlike the ratio, it does not grow with the number of electrons.
    """


def likelihood_left(problem: Problem, vector: Any, context: TrialContext) -> LikelihoodLeft | None:
    """What a model leaves of the negative log-likelihood of all pixels, for parameters on the CPU.

    Unlike the loss that is refined, it compares runs of any data term, form and number of slices. None for coefficients
    and images, where neighbouring pixels share their noise, and where other quantities than a thickness are refined,
    which may belong to single patterns.
    """
    measured, gain, layout = problem.measured, counts_per_electron(problem), problem.layout
    if measured.coefficients is not None or measured.near_field or gain is None:
        return None
    others = [block for block in layout.blocks if block.name is not BlockName.THICKNESS]
    if problem.statistics.noise_spread > NOISE_SPREAD or others:
        return None
    model = by_likelihood(problem, bright_field_only=False)
    model = model.part(np.arange(model.count)[:: max(1, model.count // COMPARED)])
    noise = counting_noise(model, gain)
    if not noise:
        return None
    with closing(open_backend(context.backend, model, context.threads)) as backend:
        objective = Objective(backend, on_device(layout, backend.xp), model.count)
        loss = sum(objective.losses(backend.xp.asarray(vector), [np.arange(model.count)])) / model.count
    if not math.isfinite(loss):
        return None
    # pixels whose model errs by a share e leave m e^2 / 2 more, m their mean
    counts = float((_mean_pattern(model) * model.weights).sum(dtype=np.float64))
    return LikelihoodLeft(loss / noise, math.sqrt(2 * max(0.0, loss - noise) / max(counts, 1e-30)))


def counts_per_electron(problem: Problem) -> float | None:
    """Counts per electron, estimated unless they were given; None if neither is possible.

    Where counts are not electrons, the right model would otherwise leave as many times the noise as an electron has
    counts. The estimate is too high where the specimen changes from one pattern to the next.
    """
    given = problem.measured.dataset.calibration.get("counts_per_electron")
    faint_share = problem.statistics.faint_share
    if given or faint_share is None:
        return float(given) if given else None
    return faint_share if faint_share > ELECTRONS else 1.0


def counting_noise(multislice: MultisliceProblem, counts_per_electron: float = 1.0) -> float | None:
    """Estimate the loss per pattern that the right model of counted electrons leaves.

    Computed from the mean pattern: pixels of more than a few electrons leave the same, however many they have. None for
    terms where bright pixels leave more.
    """
    if multislice.data_term.kind not in LEVEL:
        return None
    counts, losses = mean_losses(multislice.data_term, counts_per_electron)
    return float((np.interp(_mean_pattern(multislice), counts, losses) * multislice.weights).sum(dtype=np.float64))


def _mean_pattern(multislice: MultisliceProblem) -> DoubleArray:
    stride = max(1, multislice.count // SAMPLED)
    return np.asarray(np.asarray(multislice.patterns[::stride]).mean(axis=0, dtype=np.float64))


@lru_cache
def mean_losses(term: DataTerm, counts_per_electron: float = 1.0) -> tuple[DoubleArray, DoubleArray]:
    """Mean counts, ascending, and the mean loss of a pixel whose electrons are Poisson-distributed about each mean."""
    from scipy.special import gammaln, xlogy  # scipy.stats takes a third of a second to import

    means = np.concatenate([[0.0], np.geomspace(FAINTEST, BRIGHTEST, STEPS)])
    losses = np.zeros_like(means)
    for index, mean in enumerate(means):
        electrons = np.arange(int(mean + DEVIATIONS * mean**0.5) + FEWEST, dtype=np.float64)
        chances = np.exp(xlogy(electrons, mean) - mean - gammaln(electrons + 1))
        expected, counts = np.full_like(electrons, counts_per_electron * mean), counts_per_electron * electrons
        losses[index] = chances @ pixel_terms(np, term, expected, counts)[0]
    return counts_per_electron * means, losses
