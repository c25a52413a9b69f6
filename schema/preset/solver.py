"""How the loss is lowered: mini-batch sweeps, then L-BFGS."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, Repeats, StepFactor

MORE_EPOCHS = 20
"""That a run which has not come to rest is offered."""


class SolverSettings(StrictModel):
    """Epochs, steps, and the constants of the line search."""

    epoch_max: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        default="auto", description="epochs in all: mini-batch sweeps first, L-BFGS steps after them"
    )
    sweeps: Repeats | Auto = Field(
        default="auto", description="mini-batch sweeps before L-BFGS; auto leaves at least a third of the epochs to it"
    )
    early_stop: bool = Field(
        default=False,
        description="8 to 16 sweeps: end them when the loss of 5 % of the patterns, held out, falls by < 0.05 % in one",
    )
    probe_sweeps: Repeats | Auto = Field(default="auto", description="first sweeps that move the probe only")
    batch_size: Annotated[int, Field(ge=1)] | Auto = Field(default="auto", description="patterns in a mini-batch")
    sweep_step: StepFactor | Auto = Field(
        default="auto", description="step of the object in a sweep, as a fraction of the Newton step"
    )
    probe_step: Annotated[float, Field(ge=0, le=2)] | Auto = Field(
        default="auto", description="step of the probe in a sweep, as a fraction of the Newton step"
    )
    anchor: Annotated[float, Field(ge=0, le=100)] | Auto = Field(
        default="auto", description="pull of L-BFGS towards the sweeps' result, as a share of the curvature; 0: none"
    )
    hist_length: int = Field(
        default=10,
        ge=0,
        le=100_000,
        description="pairs kept by L-BFGS, two copies of all parameters each; 0: scaled steepest descent",
    )
    optimizer: Literal["scaled", "pypty"] = Field(
        default="scaled",
        description="L-BFGS scaled by the known curvature, bracketing line search; or PyPty's: a Barzilai-Borwein"
        " factor for each quantity, steps grown and cut by fixed factors",
    )
    update_step_bfgs: float = Field(default=1.0, gt=0, le=1e6, description="first step tried (optimizer=pypty)")
    reduce_factor: float = Field(default=0.1, gt=0, lt=1, description="factor of a step too long (optimizer=pypty)")
    optimism: float = Field(default=3.0, gt=1, le=100, description="factor of a step too short (optimizer=pypty)")
    min_step: float = Field(default=1e-20, ge=0, lt=1, description="shortest step tried (optimizer=pypty)")
    wolfe_c1_constant: float = Field(default=1e-4, gt=0, lt=0.5, description="sufficient decrease asked of a step")
    wolfe_c2_constant: float = Field(default=0.9, gt=0, lt=1, description="weak curvature condition on a step")
    max_count: int = Field(default=8, ge=1, le=100, description="evaluations in one line search, at most")
    seed: int = Field(default=0, ge=0, description="seed of the order of the patterns in the sweeps, and of networks")
