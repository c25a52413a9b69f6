"""The loss of a refinement as a function that torch can differentiate, without a second forward model.

A backend of ptylive computes loss and gradient for a vector of parameters; torch receives both, and backpropagates the
gradient to the weights of the networks. On the CPU, arrays and tensors share their memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptylive.schema.model import IndexArray

Evaluate = Callable[[Any, IndexArray], tuple[float, Any]]
"""Loss, summed over the requested patterns, and its gradient (n,), at a vector (n,) of the backend's module."""


def to_tensor(array: Any, device: torch.device) -> Tensor:
    """A numpy or cupy array as a tensor on a device; memory is shared if it is there already."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
    return torch.from_dlpack(array).to(device)


def to_array(tensor: Tensor, xp: Any) -> Any:
    """A tensor as an array of ``xp``, numpy or cupy; memory is shared if possible."""
    found = tensor.detach()
    if xp is np:
        return found.cpu().numpy()
    return xp.from_dlpack(found) if found.is_cuda else xp.asarray(found.numpy())


class _Loss(torch.autograd.Function):
    """See :func:`loss_of`."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, evaluate: Evaluate, patterns: IndexArray, xp: Any) -> Tensor:
        loss, gradient = evaluate(to_array(vector, xp), patterns)
        ctx.save_for_backward(to_tensor(gradient, vector.device).to(vector.dtype))
        return vector.new_tensor(float(loss))

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None, None


def loss_of(vector: Tensor, evaluate: Evaluate, patterns: IndexArray, xp: Any = np) -> Tensor:
    """The loss (a scalar) of some patterns at a vector (n,), differentiable with respect to the vector."""
    found: Tensor = _Loss.apply(vector, evaluate, patterns, xp)
    return found
