"""The fused kernel, run on the CPU, on arrays of the strict device."""

import numpy as np
from emulated_cuda import EmulatedKernels
from strict_device import ON_CARD, DeviceArray, device

from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.fused_backend import FusedMultislice, counts_type
from ptylive.engine.backend.multislice.problem import MultisliceProblem


class DeviceKernels(EmulatedKernels):
    """Takes arrays of the device and numpy scalars, as cupy's launch does."""

    xp = device

    def launch(self, name, blocks, arguments):
        assert all(isinstance(value, DeviceArray | np.generic) for value in arguments)
        super().launch(name, blocks, tuple(getattr(value, "_host", value) for value in arguments))


def fused(problem: MultisliceProblem, kernels: type[EmulatedKernels] = DeviceKernels) -> FusedMultislice:
    """The fused backend of a problem."""
    on_card, counts = ON_CARD and kernels is DeviceKernels, counts_type(problem.patterns)
    plan = Plan.of(problem.window, None if on_card else 8)
    assert plan is not None
    if on_card:
        from ptylive.engine.backend.multislice.fused.cuda import CudaKernels

        return FusedMultislice(problem, plan, CudaKernels(plan, counts))
    return FusedMultislice(problem, plan, kernels(plan, counts, 3))
