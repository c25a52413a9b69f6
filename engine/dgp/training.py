"""The stages of training: first the networks reproduce refined pixels, then they explain the patterns.

Both are iterators, so that the caller can report, judge and stop between steps and epochs. Random numbers follow from
the plan's seed: the same seed on the same machine with as many threads trains the same networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ptylive.engine.dgp.bridge import Evaluate, loss_of, to_array
from ptylive.engine.dgp.generators import Generator, Generators
from ptylive.engine.dgp.images import Images
from ptylive.engine.dgp.plan import Plan
from ptylive.engine.dgp.plateau import Plateau
from ptylive.schema.model import DoubleArray, IndexArray

FAITHFUL = 1e-3
"""Mean square error relative to the images' mean square at which pre-training ends."""
PRETRAINING_EPOCH = 25
"""Steps of pre-training that its plateau counts as an epoch."""
LARGEST_GRADIENT = 10.0
"""Norm beyond which the gradient of a network's weights is clipped, so that one odd batch does no harm."""


class Training:
    """Networks and their optimisers."""

    def __init__(self, plan: Plan, parts: Sequence[Images], vector: Any, xp: Any = np, threads: int = 1) -> None:
        """``parts``: images of each network of the plan, in the order of ``vector`` (n,), the refined pixels."""
        self.plan, self._xp, self._threads = plan, xp, threads
        self._device = torch.device("cpu" if xp is np or not torch.cuda.is_available() else "cuda")
        with self._threaded(), torch.random.fork_rng():
            torch.manual_seed(plan.seed)  # the initial weights; all later noise comes from a separate generator
            self.generators = Generators(list(zip(parts, plan.networks, strict=True)), vector, self._device)
        self._noise = torch.Generator().manual_seed(plan.seed)

    @property
    def where(self) -> str:
        """Device that the networks run on."""
        return "GPU" if self._device.type == "cuda" else "processor"

    def pretrained(self) -> Iterator[tuple[int, float]]:
        """Train each network to reproduce the pixels; after each step yield the steps done and the relative error."""
        for generator in self.generators.each:
            optimiser, schedule, total = _adam(generator, generator.plan.pretraining_rate), Plateau(), 0.0
            for step in range(1, generator.plan.pretraining + 1):
                with self._threaded():
                    loss = functional.mse_loss(generator.output(self._noise), generator.input)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                share = float(loss.detach() / generator.input.square().mean().clamp_min(1e-12))
                total += share
                if step % PRETRAINING_EPOCH == 0:
                    schedule, total = schedule.after(total), 0.0
                    _set_rate(optimiser, generator.plan.pretraining_rate * schedule.rate)
                yield step, share
                if share < FAITHFUL or schedule.finished:
                    break

    def on_patterns(self, evaluate: Evaluate, patterns: IndexArray, scale: float) -> OnPatterns:
        """Train all networks on patterns, in batches.

        ``scale``: a loss per pattern that counts as 1, so that rates mean the same at any number of counts.
        """
        return OnPatterns(self, evaluate, patterns, scale)

    def vector(self) -> Any:
        """The parameters that the networks produce without noise, as a new array."""
        with self._threaded(), torch.no_grad():
            return to_array(self.generators.vector(None).clone(), self._xp)

    def step(
        self,
        optimisers: Sequence[torch.optim.Optimizer],
        evaluate: Evaluate,
        batch: IndexArray,
        scale: float,
    ) -> float:
        """One step of all networks; returns the loss of its patterns."""
        with self._threaded():
            loss = loss_of(self.generators.vector(self._noise), evaluate, batch, self._xp)
            for optimiser in optimisers:
                optimiser.zero_grad()
            (loss / (scale * len(batch))).backward()
            for generator, optimiser in zip(self.generators.each, optimisers, strict=True):
                torch.nn.utils.clip_grad_norm_(generator.parameters(), LARGEST_GRADIENT)
                optimiser.step()
        return float(loss.detach())

    @contextmanager
    def _threaded(self) -> Iterator[None]:
        """Use our number of threads while networks are made and trained; torch's setting is restored afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class OnPatterns:
    """Epochs of training on patterns. The caller reports the losses after each, which determine the rate."""

    def __init__(self, training: Training, evaluate: Evaluate, patterns: IndexArray, scale: float) -> None:
        """See :meth:`Training.on_patterns`."""
        self._training, self._evaluate, self._patterns, self._scale = training, evaluate, patterns, scale
        plan = training.plan
        self._optimisers = [
            _adam(generator, network.rate)
            for generator, network in zip(training.generators.each, plan.networks, strict=True)
        ]
        self._random, self._schedule = np.random.default_rng(plan.seed), Plateau()
        self.loss = float("nan")
        """Loss per pattern, of the running batches of the last finished epoch, regularisers included."""

    def epoch(self) -> Iterator[int]:
        """Run one epoch; yields the number of steps done after each step."""
        order, steps = self._random.permutation(self._patterns), self._training.plan.steps(len(self._patterns))
        total = 0.0
        for step in range(steps):
            batch = np.sort(order[step::steps])
            total += self._training.step(self._optimisers, self._evaluate, batch, self._scale)
            if step + 1 == steps:
                self.loss = total / len(self._patterns)
            yield step + 1

    def after(self, losses: DoubleArray) -> bool:
        """Record the losses (groups,) of held-out patterns after an epoch; return whether another one is worthwhile."""
        self._schedule = self._schedule.after(losses)
        for optimiser, network in zip(self._optimisers, self._training.plan.networks, strict=True):
            _set_rate(optimiser, network.rate * self._schedule.rate)
        return not self._schedule.finished and bool(np.isfinite(self.loss))


def _adam(generator: Generator, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(generator.parameters(), lr=rate)


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
