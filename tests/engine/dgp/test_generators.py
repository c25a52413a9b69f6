"""Networks generate the vector of parameters: those without a network stay, and every activation keeps its bound."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ptylive[dgp]'")

from ptylive.engine.dgp.generators import TOP, Generator, Generators  # noqa: E402
from ptylive.engine.dgp.images import Images  # noqa: E402
from ptylive.engine.dgp.plan import NetworkPlan  # noqa: E402

CPU = torch.device("cpu")
PLAN = NetworkPlan(1, 4, "identity", 0.0, 0, 1e-3, 1e-3)


class Same(torch.nn.Module):
    """The identity."""

    def forward(self, images):
        return images


def vector(size, seed=1):
    return np.random.default_rng(seed).normal(size=size).astype("f4")


@pytest.mark.parametrize("waves", [True, False])
def test_networks_that_give_back_what_they_see_make_the_vector_it_came_from(waves):
    """Both directions through offset, unit, real space and centring, for 300 numbers of size 1 in single precision."""
    start = vector(2 * 10 * 11 + 2 * 8 * 8 + 5)
    probe = Images(220, (2, 8, 8), waves, not waves)
    made = Generators([(Images(0, (2, 10, 11)), PLAN), (probe, PLAN)], start, CPU)
    for one in made.each:
        one.network = Same()
    np.testing.assert_allclose(made.vector(None).numpy(), start, atol=2e-6)


def test_what_no_network_makes_stays():
    start = vector(3 + 6 * 6 + 4)
    made = Generators([(Images(3, (1, 6, 6)), PLAN)], start, CPU).vector(None).detach().numpy()
    np.testing.assert_array_equal(made[:3], start[:3])
    np.testing.assert_array_equal(made[-4:], start[-4:])
    assert not np.allclose(made[3:39], start[3:39])


@pytest.mark.parametrize(("activation", "highest"), [("softplus", np.inf), ("sigmoid", TOP)])
def test_activations_keep_their_bounds(activation, highest):
    start = np.abs(vector(64))
    plan = NetworkPlan(1, 4, activation, 0.0, 0, 1e-3, 1e-3)
    made = Generators([(Images(0, (1, 8, 8)), plan)], start, CPU).vector(None).detach()
    assert float(made.min()) >= 0
    assert float(made.max()) <= highest * start.max() * 1.0001


def test_noise_is_of_its_size_and_of_its_seed():
    plan = NetworkPlan(1, 4, "identity", 0.5, 0, 1e-3, 1e-3)
    images, values = Images(0, (1, 64, 64)).of(vector(64 * 64))
    one = Generator(images, values, plan, CPU)
    one.network = Same()
    drawn = [one.output(torch.Generator().manual_seed(seed)) - one.input for seed in (3, 3, 4)]
    assert float(drawn[0].std()) == pytest.approx(0.5, rel=0.05)  # 4096 numbers: random error 1.1 %
    torch.testing.assert_close(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    torch.testing.assert_close(one.output(None), one.input)
