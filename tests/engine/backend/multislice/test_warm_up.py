"""Every way of the compiled kernel is compiled before a refinement needs it, with the types it will have."""

from ptylive.engine.backend.multislice import compiled_kernel
from ptylive.engine.backend.multislice.kernel_parts.ways import Way
from ptylive.engine.backend.multislice.warm_up import warm_up


def test_nothing_is_left_to_compile():
    warm_up(30)  # no compiled transform: nothing to do
    warm_up(32)
    ways = (
        compiled_kernel.add_loss_and_gradient,
        compiled_kernel.add_loss_of_coefficients,
        compiled_kernel.fill_waves,
        compiled_kernel.add_gradient,
        compiled_kernel.fill_intensities,
        compiled_kernel.add_illumination,
    )
    kinds = [len(way.signatures) for way in ways]
    assert kinds == [1] * len(ways), "one set of types serves every refinement"
    warm_up(48, (Way.FRAMES,))
    assert [len(way.signatures) for way in ways] == kinds, "nor does another size need anything new"
