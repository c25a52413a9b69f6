"""Preparation of a deep generative prior for training: its networks, and held-out patterns to judge it by.

Nothing here needs torch, so checks before a run cover the prior as they cover pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.dgp.images import Images
from ptylive.engine.dgp.plan import Plan, Specimen, planned
from ptylive.engine.dgp.size import NetworkSize, in_words
from ptylive.engine.memory import check_fits
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import IndexArray
from ptylive.schema.preset.solver import PriorSettings

LEAST_PATTERNS = 64
"""Fewest patterns of which some can be held out to end the training of a network."""
GROUPS = 16
"""Groups of held-out patterns; the scatter between them gives the uncertainty of differences."""


@dataclass(frozen=True)
class Generative:
    """Networks for a problem."""

    plan: Plan
    parts: tuple[Images, ...]
    """Positions of the object, and of the probe if it has a network, in the parameter vector."""

    @classmethod
    def of(
        cls,
        settings: PriorSettings,
        layout: ParameterLayout,
        patterns: int,
        dose_e_per_A2: float,
        *,
        probe_refined: bool,
        seed: int,
    ) -> Generative:
        """Plan networks; ``layout``: of the whole scan; ``patterns``: number of patterns that are refined."""
        specimen = Specimen(dose_e_per_A2, layout.object_shape[0], patterns, layout.non_negative, probe_refined)
        plan = planned(settings, specimen, seed)
        return cls(plan, parts_of(layout, plan))

    @property
    def sizes(self) -> tuple[NetworkSize, ...]:
        """Size of each network."""
        return tuple(
            NetworkSize(part.shape[0], network.levels, network.filters, part.shape[1:])
            for part, network in zip(self.parts, self.plan.networks, strict=True)
        )

    @property
    def bytes(self) -> int:
        """Memory of all networks during training."""
        return sum(size.bytes for size in self.sizes)

    def check_fits(self) -> None:
        """Raise MetadataError if the networks do not fit into memory."""
        check_fits(float(self.bytes), "the networks of method=dgp", "set dgp_filters=8 or dgp_levels=2")

    def seconds(self, patterns: int, threads: int) -> float:
        """Estimate the time to train on ``patterns`` patterns on the CPU; the patterns' own share is small."""
        steps = self.plan.epochs * self.plan.steps(patterns)
        pairs = zip(self.sizes, self.plan.networks, strict=True)
        return sum(size.seconds(network.pretraining + steps, threads) for size, network in pairs)

    def words(self, patterns: int, threads: int) -> str:
        """Description shown before a run."""
        return f"then a deep generative prior: {in_words(list(self.sizes), self.seconds(patterns, threads))} at most"


def parts_of(layout: ParameterLayout, plan: Plan) -> tuple[Images, ...]:
    """Object, and probe if it has a network, as images."""
    rows, columns = layout.object_shape[1:]
    parts = [Images(0, (layout.object_size // (rows * columns), rows, columns))]
    if plan.probe is not None:
        waves, size = layout.probe.form is ProbeForm.COMPLEX, layout.window
        channels = layout.probe_size // size**2
        parts.append(Images(layout.object_size, (channels, size, size), waves, not waves))
    return tuple(parts)


def held_groups(count: int, share: float, seed: int) -> tuple[IndexArray, ...]:
    """Patterns held out of ``count``, in groups from all over the scan. Raises RefinementError for too few patterns."""
    if count < LEAST_PATTERNS:
        raise RefinementError(f"method=dgp needs {LEAST_PATTERNS} patterns, there are {count}", "set method=pixels")
    few = np.random.default_rng([seed, 7]).permutation(count)[: max(GROUPS, math.ceil(share * count))]
    return tuple(np.sort(group) for group in np.array_split(few, GROUPS))
