"""Two networks whose outputs are object and probe, as one vector of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptylive.engine.dgp.bridge import to_tensor
from ptylive.engine.dgp.images import Images
from ptylive.engine.dgp.networks import UNet
from ptylive.engine.dgp.plan import NetworkPlan

TOP = 1.5
"""Upper limit of a sigmoid, relative to the largest value of the images."""
STEEPNESS = 4.0
"""Steepness of softplus in units of the image: curved below a quarter of the unit, almost linear above."""


class Generator(nn.Module):
    """A network, its input, and the conversion of its output to a block of the vector."""

    def __init__(self, images: Images, values: Any, plan: NetworkPlan, device: torch.device) -> None:
        """``values`` (channels, Y, X): the refined pixels as images, normalised as ``images`` specifies."""
        super().__init__()
        self.images, self.plan = images, plan
        self.network = UNet(len(values), plan.levels, plan.filters).to(device)
        self.input = to_tensor(np.asarray(values, np.float32), device)[None]
        self._offset = None if images.offset is None else to_tensor(images.offset, device)
        self._top = TOP * float(max(values.max(), 1e-6))

    def output(self, noise: torch.Generator | None) -> Tensor:
        """Images (1, channels, Y, X) of the network, with fresh noise added to its input; None: without noise."""
        given = self.input
        if noise is not None and self.plan.input_noise > 0:
            drawn = torch.empty(given.shape, dtype=given.dtype).normal_(generator=noise)
            given = given + self.plan.input_noise * drawn.to(given.device)
        images: Tensor = self.network(given)
        activation = self.plan.activation
        if activation == "softplus":
            return functional.softplus(images, beta=STEEPNESS)
        if activation == "sigmoid":
            return self._top * torch.sigmoid(images)
        if activation != "identity":
            raise KeyError(activation)
        return images

    def block(self, noise: torch.Generator | None) -> Tensor:
        """The parameters, flattened."""
        values = self.output(noise)[0] * self.images.unit
        values = values if self._offset is None else values + self._offset
        if self.images.centred or self.images.waves:
            values = torch.fft.ifftshift(values, dim=(-2, -1))
        if self.images.waves:
            half = len(values) // 2
            field = torch.fft.fft2(torch.complex(values[:half], values[half:]), norm="ortho")
            values = torch.cat([field.real, field.imag])
        return values.reshape(-1)


class Generators:
    """The generators of a run and the vector that they produce; all other parameters keep their values."""

    def __init__(self, parts: Sequence[tuple[Images, NetworkPlan]], vector: Any, device: torch.device) -> None:
        """``parts``: blocks of the vector, in the order of the vector, with the network of each."""
        self._start = to_tensor(np.array(vector, np.float32), device)
        self.each = []
        for images, plan in parts:
            found, values = images.of(vector, above=plan.activation != "identity")
            self.each.append(Generator(found, values, plan, device))

    def vector(self, noise: torch.Generator | None) -> Tensor:
        """All parameters (n,)."""
        pieces, first = [], 0
        for generator in self.each:
            pieces += [self._start[first : generator.images.first], generator.block(noise)]
            first = generator.images.first + generator.images.size
        return torch.cat([*pieces, self._start[first:]])
