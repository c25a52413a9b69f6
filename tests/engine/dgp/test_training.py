"""Networks learn to give back pixels, then to lower a loss that is computed elsewhere; a seed repeats all of it."""

from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ptylive[dgp]'")

from ptylive.engine.dgp.images import Images  # noqa: E402
from ptylive.engine.dgp.plan import NetworkPlan, Plan  # noqa: E402
from ptylive.engine.dgp.training import Training  # noqa: E402

SHAPE = (1, 16, 16)
Y, X = np.indices(SHAPE[1:])
START = (0.3 + 0.2 * np.sin(Y / 2) * np.cos(X / 3)).ravel().astype("f4")
WANTED = (0.3 + 0.2 * np.sin(Y / 3) * np.cos(X / 2)).ravel().astype("f4")


def plan(seed=0, epochs=10, **network):
    given = {"levels": 2, "filters": 8, "activation": "identity", "input_noise": 0.025, "pretraining": 60}
    return Plan(NetworkPlan(**(given | {"pretraining_rate": 5e-3, "rate": 3e-3} | network)), None, epochs, 4, seed)


def evaluate(vector, patterns):
    """Each pattern says where all parameters ought to be."""
    away = vector - WANTED
    return float(len(patterns) * (away**2).sum()), 2 * len(patterns) * away


def trained(seed=0, epochs=10):
    training = Training(plan(seed, epochs), [Images(0, SHAPE)], START)
    shares = [share for _, share in training.pretrained()]
    told = list(training.trained(evaluate, np.arange(16), float(((START - WANTED) ** 2).sum())))
    return training, shares, told


def test_networks_learn_the_pixels_and_then_the_patterns():
    training, shares, told = trained()
    assert shares[-1] < 0.2 * shares[0]
    epochs = [each for each in told if each.step == 0]
    assert [each.epoch for each in epochs] == list(range(1, 11))
    assert epochs[-1].loss < 0.2 * epochs[0].loss
    assert len(told) == 10 * 4  # 16 patterns by 4
    left = ((training.vector() - WANTED) ** 2).sum()
    assert left < 0.2 * ((START - WANTED) ** 2).sum()


def test_a_seed_repeats_everything_and_another_does_not():
    first, again, other = (trained(seed, 2)[0].vector() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_every_pattern_is_seen_once_an_epoch():
    seen = []

    def watched(vector, patterns):
        seen.extend(patterns.tolist())
        return evaluate(vector, patterns)

    training = Training(plan(epochs=1), [Images(0, SHAPE)], START)
    list(training.trained(watched, np.array([3, 5, 7, 11, 13, 17]), 1.0))
    assert sorted(seen) == [3, 5, 7, 11, 13, 17]


def test_torch_is_left_as_it_was_found():
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    training = Training(plan(), [Images(0, SHAPE)], START, threads=threads + 1)
    list(islice(training.pretrained(), 2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), drawn)
