"""How the loss is minimised: mini-batch sweeps, then L-BFGS, and optionally networks after them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, Repeats, StepFactor

MORE_EPOCHS = 20
"""Number of further epochs offered to a run that has not converged."""
Rate = Annotated[float, Field(gt=0, le=1)]
ENGINES = ("epie", "lsq_ml", "adam")
"""Values of ``optimizer`` that are published engines, for comparison of runs."""
BatchChoice = Literal["random", "compact", "sparse"]


class SolverSettings(StrictModel):
    """Epochs, steps, and the constants of the line search."""

    regime: Literal["auto", "thin", "weak"] = Field(
        default="auto",
        description="treatment of a thin specimen where other settings are auto: the whole pattern, or the bright"
        " field in small steps; auto: by the dose, and at low dose by short trials on held-out patterns",
    )
    epoch_max: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        default="auto", description="epochs in all: mini-batch sweeps first, L-BFGS steps after them"
    )
    sweeps: Repeats | Auto = Field(
        default="auto", description="mini-batch sweeps before L-BFGS; auto leaves at least a third of the epochs to it"
    )
    early_stop: bool = Field(
        default=False,
        description="8 to 16 sweeps: stop when the loss of held-out patterns (5 %) falls by < 0.05 % in a sweep",
    )
    probe_sweeps: Repeats | Auto = Field(
        default="auto", description="number of first sweeps that update only the probe"
    )
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
    optimizer: Literal["scaled", "pypty", "epie", "lsq_ml", "adam"] = Field(
        default="scaled",
        description="L-BFGS scaled by the known curvature, bracketing line search; or PyPty's: a Barzilai-Borwein"
        " factor for each quantity, steps grown and cut by fixed factors; or an engine by name in place of sweeps and"
        " L-BFGS: epie, lsq_ml, adam (docs/engines.md)",
    )
    batch_choice: BatchChoice = Field(
        default="random",
        description="patterns of a batch: random, anew in every epoch; neighbours (compact); spread over the scan"
        " (sparse) (optimizer=epie, lsq_ml, adam)",
    )
    adam_object_rate: Rate = Field(
        default=5e-4, description="rate of modulus and phase (rad) of the object (optimizer=adam)"
    )
    adam_probe_rate: Rate = Field(
        default=1e-4,
        description="rate of the probe in real space, in roots of the largest counts of the mean pattern"
        " (optimizer=adam)",
    )
    adam_position_rate: Rate = Field(
        default=5e-4, description="rate of refined positions, object pixels (optimizer=adam)"
    )
    lsq_damping: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="added to the illumination by which steps are divided, as a fraction of its maximum"
        " (optimizer=lsq_ml)",
    )
    update_step_bfgs: float = Field(default=1.0, gt=0, le=1e6, description="first step tried (optimizer=pypty)")
    reduce_factor: float = Field(default=0.1, gt=0, lt=1, description="factor of a step too long (optimizer=pypty)")
    optimism: float = Field(default=3.0, gt=1, le=100, description="factor of a step too short (optimizer=pypty)")
    min_step: float = Field(default=1e-20, ge=0, lt=1, description="shortest step tried (optimizer=pypty)")
    wolfe_c1_constant: float = Field(default=1e-4, gt=0, lt=0.5, description="sufficient decrease required of a step")
    wolfe_c2_constant: float = Field(default=0.9, gt=0, lt=1, description="weak curvature condition on a step")
    max_count: int = Field(default=8, ge=1, le=100, description="evaluations in one line search, at most")
    precision: Literal["single", "double"] = Field(
        default="single",
        description="of parameters, waves and gradients; double takes two to three times as long and more memory, and"
        " shows the effect of rounding; sums over patterns are always in double",
    )
    seed: int = Field(default=0, ge=0, description="seed of the order of the patterns in the sweeps, and of networks")


class PriorSettings(StrictModel):
    """Deep generative prior: after pixels are refined, two networks are trained whose outputs are object and probe."""

    method: Literal["pixels", "dgp"] = Field(
        default="pixels",
        description="pixels: every pixel independently; dgp: then the weights of a network for the object and of"
        " one for"
        " the probe (docs/dgp.md; pip install 'ptylive[dgp]')",
    )
    dgp_levels: Annotated[int, Field(ge=1, le=6)] | Auto = Field(
        default="auto", description="number of times that images are halved in size inside a network"
    )
    dgp_filters: Annotated[int, Field(ge=1, le=256)] | Auto = Field(
        default="auto", description="channels of a network at full size; twice as many at each level below"
    )
    dgp_activation: Literal["auto", "identity", "softplus", "sigmoid"] = Field(
        default="auto",
        description="activation after the object network's last layer; auto: softplus for phases held at or"
        " above 0, otherwise"
        " identity; sigmoid: between 0 and 1.5 times the largest previous value",
    )
    dgp_probe: bool | Auto = Field(
        default="auto", description="a network for the probe too; auto: not at low dose, where it stays as refined"
    )
    dgp_input_noise: Annotated[float, Field(ge=0, le=10)] | Auto = Field(
        default="auto",
        description="standard deviation of the noise added to the input of the object's network, relative to"
        " that of the input",
    )
    dgp_pretraining: Repeats | Auto = Field(
        default="auto",
        description="largest number of steps in which the object's network learns to reproduce the refined pixels",
    )
    dgp_pretraining_rate: Rate | Auto = Field(default="auto", description="learning rate of those steps (Adam)")
    dgp_epochs: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        default="auto", description="epochs in which both networks are trained on the patterns, at most"
    )
    dgp_batch: Annotated[int, Field(ge=1)] | Auto = Field(default="auto", description="patterns in a training step")
    dgp_object_rate: Rate | Auto = Field(default="auto", description="rate of the object's network at first (Adam)")
    dgp_probe_rate: Rate | Auto = Field(default="auto", description="rate of the probe's network at first (Adam)")
    dgp_held_out: float = Field(
        default=0.0625,
        ge=0.01,
        le=0.5,
        description="fraction of the patterns to which neither pixels nor networks are fitted",
    )
