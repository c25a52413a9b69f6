"""The settings of a deep generative prior left to ``auto``, chosen from dose and specimen; torch is not required."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

from ptylive.schema.preset.solver import PriorSettings

LOW_DOSE_E_PER_A2 = 1000.0
"""Dose below which the small network is used: the large one fits the noise before it helps (docs/dgp.md)."""
NOISE, LOW_DOSE_NOISE = 0.025, 0.6
"""Noise added to the input of the object's network: little, as in the paper; much if the pixels are mostly noise, so
that the network learns from the beginning to distinguish signal from noise.
"""
PROBE_PRETRAINING, PROBE_PRETRAINING_RATE = 400, 5e-3
"""Any part of the probe that pre-training does not reproduce is missing in all patterns."""
STEPS_AN_EPOCH = 16
LEAST_BATCH, MOST_BATCH = 32, 1024
Activation = Literal["identity", "softplus", "sigmoid"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class NetworkPlan:
    """A network and its training."""

    levels: int
    filters: int
    activation: Activation
    input_noise: float
    """Relative to the standard deviation of the input."""
    pretraining: int
    """Largest number of steps."""
    pretraining_rate: float
    rate: float
    """Initial rate of training on the patterns."""


@dataclass(frozen=True)
class Plan:
    """Networks and their training, with no ``auto`` left."""

    object: NetworkPlan
    probe: NetworkPlan | None
    """None: the probe stays as it was refined."""
    epochs: int
    batch: int
    seed: int

    @property
    def networks(self) -> tuple[NetworkPlan, ...]:
        """The network of the object, and that of the probe if there is one."""
        return (self.object,) if self.probe is None else (self.object, self.probe)

    def steps(self, patterns: int) -> int:
        """Steps in an epoch of ``patterns`` patterns."""
        return max(1, math.ceil(patterns / self.batch))


@dataclass(frozen=True)
class Specimen:
    """The quantities from which the plan follows."""

    dose_e_per_A2: float
    slices: int
    patterns: int
    """Number of refined patterns."""
    non_negative: bool
    """Whether phases are held at or above 0."""
    probe_refined: bool = True


def planned(settings: PriorSettings, specimen: Specimen, seed: int) -> Plan:
    """The plan for a specimen; explicit values always take precedence."""
    low = specimen.dose_e_per_A2 < LOW_DOSE_E_PER_A2
    thick = specimen.slices > 1
    activation: Activation = "softplus" if specimen.non_negative else "identity"
    if settings.dgp_activation != "auto":
        activation = settings.dgp_activation
    batch = min(MOST_BATCH, max(LEAST_BATCH, math.ceil(specimen.patterns / STEPS_AN_EPOCH)))
    of_object = NetworkPlan(
        levels=_setting_or(settings.dgp_levels, 2 if low else 3),
        filters=_setting_or(settings.dgp_filters, 8 if low else 16),
        activation=activation,
        input_noise=_setting_or(settings.dgp_input_noise, LOW_DOSE_NOISE if low else NOISE),
        pretraining=_setting_or(settings.dgp_pretraining, 300 if thick else 50),
        pretraining_rate=_setting_or(settings.dgp_pretraining_rate, 5e-3 if thick else 1e-3),
        rate=_setting_or(settings.dgp_object_rate, 1e-4 if low else 1e-3),
    )
    of_probe = NetworkPlan(
        levels=_setting_or(settings.dgp_levels, 3),
        filters=_setting_or(settings.dgp_filters, 16),
        activation="identity",
        input_noise=NOISE,
        pretraining=PROBE_PRETRAINING if of_object.pretraining else 0,
        pretraining_rate=PROBE_PRETRAINING_RATE,
        rate=_setting_or(settings.dgp_probe_rate, 1e-3),
    )
    with_probe = specimen.probe_refined and _setting_or(settings.dgp_probe, not low)
    return Plan(
        of_object,
        of_probe if with_probe else None,
        epochs=_setting_or(settings.dgp_epochs, 20 if low else 40),
        batch=_setting_or(settings.dgp_batch, batch),
        seed=seed,
    )


def _setting_or(value: _T | str, otherwise: _T) -> _T:
    """The setting's value, or the planned one for ``auto``."""
    return otherwise if isinstance(value, str) else value
