"""The fused kernel, run on the CPU on arrays of the strict device."""

from dataclasses import astuple, replace

import numpy as np
from emulated_cuda import EmulatedKernels
from strict_device import ON_CARD, DeviceArray, device

from ptylive.engine.backend.multislice.fused.order import counts_type
from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.fused_backend import FusedMultislice
from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.engine.backend.multislice.specialised.features import features_of
from ptylive.engine.backend.multislice.specialised.fused import SpecialisedFused


class DeviceKernels(EmulatedKernels):
    """Accepts arrays of the device and numpy scalars only, as cupy's launch does."""

    xp = device

    def launch(self, name, blocks, arguments):
        assert all(isinstance(value, DeviceArray | np.generic) for value in arguments)
        if device.traffic.numbers is not None:
            device.traffic.numbers += [name, blocks, *(value for value in arguments if isinstance(value, np.generic))]
        super().launch(name, blocks, tuple(getattr(value, "_host", value) for value in arguments))

    def record(self, step, arrays, uses):
        """Call the step anew each time, on the same arrays; host numbers must not change. Refuses what cupy refuses."""
        given = [device.asarray(array).copy() for array in arrays]

        def repeat(*arrays):
            for into, array in zip(given, arrays, strict=True):
                into[...] = device.asarray(array)
            passed = astuple(replace(device.traffic, numbers=None))
            device.traffic.numbers = []
            try:
                made = step(*given)
            finally:
                numbers, device.traffic.numbers = device.traffic.numbers, None
            if passed != astuple(device.traffic):
                raise RuntimeError("the current stream is capturing")
            return numbers, made

        recorded, _ = repeat(*arrays)

        def repeated(*arrays):
            numbers, made = repeat(*arrays)
            assert numbers == recorded
            return tuple(each.copy() for each in made)

        return repeated


def fused(problem: MultisliceProblem, kernels: type[EmulatedKernels] = DeviceKernels) -> FusedMultislice:
    """The fused backend of a problem."""
    on_card, counts = ON_CARD and kernels is DeviceKernels, counts_type(problem.patterns)
    plan = Plan.of(problem.window, None if on_card else 8)
    assert plan is not None
    if on_card:
        from ptylive.engine.backend.multislice.fused.cuda import CudaKernels

        return FusedMultislice(problem, plan, CudaKernels(plan, counts))
    return FusedMultislice(problem, plan, kernels(plan, counts, 3))


def fused_general(
    problem: MultisliceProblem,
    kernels: type[EmulatedKernels] = DeviceKernels,
    launched: list[tuple[str, int]] | None = None,
    free_bytes: int | None = None,
    **cut: int,
) -> SpecialisedFused:
    """The fused backend of a problem with a forward model; cut: of the window, instead of the best one."""
    on_card, counts = ON_CARD and kernels is DeviceKernels, counts_type(problem.patterns)
    plan = Plan.of(problem.window, None if on_card else 8)
    assert plan is not None
    plan = replace(plan, features=features_of(problem), **cut)
    if on_card:
        from ptylive.engine.backend.multislice.fused.cuda import CudaKernels

        return SpecialisedFused(problem, plan, lambda each: CudaKernels(each, counts), "gpu")

    def compiled(each: Plan) -> EmulatedKernels:
        made = kernels(each, counts, 2)
        made.launched = made.launched if launched is None else launched
        made.free_bytes = made.free_bytes if free_bytes is None else lambda: free_bytes
        return made

    return SpecialisedFused(problem, plan, compiled, "gpu")
