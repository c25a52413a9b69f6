"""Weights are counted exactly; memory and time are estimated before a run, as upper bounds."""

import pytest

from ptylive.engine.dgp.size import NetworkSize, in_words

WORDS = "PyTorch is not installed: pip install 'ptylive[dgp]'"


def test_weights_of_a_network_counted_by_hand():
    """L = 1, F = 2, one channel: 3 x 3 kernels without bias, and two numbers per channel for each normalisation."""
    down = 9 * 1 * 2 + 4 + 9 * 2 * 2 + 4
    bottom = 9 * 2 * 4 + 8 + 9 * 4 * 4 + 8
    up = (4 * 4 * 2 + 2) + 9 * 4 * 2 + 4 + 9 * 2 * 2 + 4
    assert NetworkSize(1, 1, 2, (8, 8)).weights == down + bottom + up + 2 * 1 + 1


@pytest.mark.parametrize(("channels", "levels", "filters"), [(1, 1, 2), (2, 2, 8), (6, 3, 16), (32, 4, 8)])
def test_weights_are_those_of_the_network(channels, levels, filters):
    pytest.importorskip("torch", reason=WORDS)
    from ptylive.engine.dgp.networks import UNet

    made = UNet(channels, levels, filters)
    assert NetworkSize(channels, levels, filters, (64, 64)).weights == sum(each.numel() for each in made.parameters())


def test_memory_and_time_grow_with_pixels_and_filters():
    small = NetworkSize(1, 3, 8, (128, 128))
    for other, factor in ((NetworkSize(1, 3, 8, (256, 256)), 4), (NetworkSize(1, 3, 16, (128, 128)), 2)):
        assert other.bytes > 0.9 * factor * small.bytes
        assert other.flops > 0.9 * factor * small.flops
    assert small.seconds(100, 1) == pytest.approx(2 * small.seconds(50, 1))
    assert 0.5 * small.seconds(50, 1) < small.seconds(50, 2) < small.seconds(50, 1)


def test_sizes_that_are_no_multiple_are_carried_on():
    assert NetworkSize(1, 3, 8, (121, 128)).bytes == NetworkSize(1, 3, 8, (128, 128)).bytes


def test_what_is_kept_is_said_and_not_much_more():
    """The memory that torch's hooks report for the backward pass is below the estimate, and not far below."""
    torch = pytest.importorskip("torch", reason=WORDS)
    from ptylive.engine.dgp.networks import UNet

    size, seen = NetworkSize(2, 2, 8, (96, 96)), {}

    def packed(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        found = UNet(2, 2, 8)(torch.zeros(1, 2, 96, 96))
    assert found.shape == (1, 2, 96, 96)
    assert 0.6 * size.bytes < sum(seen.values()) + 12 * size.weights <= size.bytes


def test_the_words_tell_weights_memory_and_time():
    said = in_words([NetworkSize(1, 2, 8, (64, 64)), NetworkSize(2, 3, 16, (64, 64))], 77.0)
    assert said.startswith("2 networks of 512 thousand weights, ")
    assert said.endswith("GB, about 77 s")
