"""A U-Net for images of any size, which pools as often as it has levels."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ptylive[dgp]'")

from ptylive.engine.dgp.networks import UNet  # noqa: E402


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(32, 32), (37, 50)])
def test_images_keep_their_size(levels, shape):
    assert UNet(2, levels, 4)(torch.randn(1, 2, *shape)).shape == (1, 2, *shape)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_network_pools_as_often_as_it_has_levels(levels):
    network, seen = UNet(1, levels, 4), []
    network.bottom.register_forward_hook(lambda module, given, made: seen.append(tuple(made.shape)))
    network(torch.randn(1, 1, 32, 32))
    assert seen == [(1, 4 * 2**levels, 32 // 2**levels, 32 // 2**levels)]


def test_the_same_image_makes_the_same_image_in_training_and_later():
    """Normalisation uses the statistics of the image, so that the result is what was trained."""
    network, image = UNet(1, 2, 4), torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        trained, found = network.train()(image), network.eval()(image)
    torch.testing.assert_close(trained, found)
