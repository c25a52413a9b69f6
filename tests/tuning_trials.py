"""Trials with known losses, for tests of their evaluation."""

import numpy as np

from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial

DEFOCUS = Range("defocus_A", "defocus", "Å", "number", -200.0, 200.0, start=-60.0)
THICKNESS = Range("total_thickness_A", "thickness", "Å", "number", 50.0, 200.0, start=140.0)
SLICES = Range("num_slices", "num_slices", "", "whole number", 2, 6, start=3)
FORM = Range("weakly_damped_obj", "weakly_damped_obj", "", "choice", choices=(False, True), start=False)
BEST = {"defocus_A": 30.0, "total_thickness_A": 110.0}
GROUPS, SWEEPS = 16, 4


def tried(number, values, *, scatter=0.002, tilt=0.0, depth=1.0, state="done"):
    """A trial whose loss is a parabola around BEST; ``tilt``: effect of a whole number; ``depth``: of the bowl.

    Each group of patterns has its own level and its own, slightly displaced minimum, the same in every trial.
    """
    rng = np.random.default_rng(1)
    level, off = 100 * (1 + 0.1 * rng.normal(size=GROUPS)), scatter * rng.normal(size=(GROUPS, 2))
    d = (values.get("defocus_A", BEST["defocus_A"]) - BEST["defocus_A"]) / 400 + off[:, 0]
    t = (values.get("total_thickness_A", BEST["total_thickness_A"]) - BEST["total_thickness_A"]) / 150 + off[:, 1]
    bowl = level * (1 + depth * (2 * d**2 + 0.5 * t**2) + tilt * (values.get("num_slices", 3) - 3) ** 2)
    bowl = bowl * (1.1 if values.get("weakly_damped_obj") else 1.0)
    groups = {sweep: tuple(float(one) for one in bowl * (1 + 1 / sweep)) for sweep in range(1, SWEEPS + 1)}
    if state == "pruned":
        groups = {sweep: groups[sweep] for sweep in (1, 2)}
    return FinishedTrial(number, values, state, groups, 1.5)


def drawn(over, count, seed=0, **more):
    """A number of random trials."""
    rng = np.random.default_rng(seed)
    return [tried(k, {one.name: one.value(float(rng.random())) for one in over}, **more) for k in range(count)]
