"""What is refined: pixels, or the weights of networks that make them (a deep generative prior)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, Repeats

Rate = Annotated[float, Field(gt=0, le=1)]


class PriorSettings(StrictModel):
    """Deep generative prior: after pixels are refined, two networks are trained whose outputs are object and probe."""

    method: Literal["pixels", "dgp"] = Field(
        default="pixels",
        description="pixels: every pixel by itself; dgp: then the weights of a network for the object and of one for"
        " the probe (docs/dgp.md; pip install 'ptylive[dgp]')",
    )
    dgp_levels: Annotated[int, Field(ge=1, le=6)] | Auto = Field(
        default="auto", description="times that the images are halved on their way through a network"
    )
    dgp_filters: Annotated[int, Field(ge=1, le=256)] | Auto = Field(
        default="auto", description="channels of a network at full size; twice as many at each level below"
    )
    dgp_activation: Literal["auto", "identity", "softplus", "sigmoid"] = Field(
        default="auto",
        description="behind the last layer of the object's network; auto: softplus for phases held at or above 0, else"
        " identity; sigmoid: between 0 and 1.5 times the largest value there was",
    )
    dgp_probe: bool | Auto = Field(
        default="auto", description="a network for the probe too; auto: not at low dose, where it stays as refined"
    )
    dgp_input_noise: Annotated[float, Field(ge=0, le=10)] | Auto = Field(
        default="auto",
        description="standard deviation of the noise added to what the object's network sees, over that of it",
    )
    dgp_pretraining: Repeats | Auto = Field(
        default="auto", description="most steps in which the object's network learns to give back the refined pixels"
    )
    dgp_pretraining_rate: Rate | Auto = Field(default="auto", description="rate of those steps (Adam)")
    dgp_epochs: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        default="auto", description="epochs in which both networks are trained on the patterns, at most"
    )
    dgp_batch: Annotated[int, Field(ge=1)] | Auto = Field(default="auto", description="patterns in a step of them")
    dgp_object_rate: Rate | Auto = Field(default="auto", description="rate of the object's network at first (Adam)")
    dgp_probe_rate: Rate | Auto = Field(default="auto", description="rate of the probe's network at first (Adam)")
    dgp_held_out: float = Field(
        default=0.0625,
        ge=0.01,
        le=0.5,
        description="share of the patterns that neither pixels nor networks are fitted to",
    )
