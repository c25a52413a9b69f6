"""Networks first learn to reproduce pixels, then to lower a loss computed elsewhere; a seed reproduces all of it."""

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
    """A loss in which each pattern pulls all parameters towards the wanted values."""
    away = vector - WANTED
    return float(len(patterns) * (away**2).sum()), 2 * len(patterns) * away


def trained(seed=0, epochs=10):
    training = Training(plan(seed, epochs), [Images(0, SHAPE)], START)
    shares = [share for _, share in training.pretrained()]
    course = training.on_patterns(evaluate, np.arange(16), float(((START - WANTED) ** 2).sum()))
    told = [(len(list(course.epoch())), course.loss) for _ in range(epochs)]
    return training, shares, told


def test_networks_learn_the_pixels_and_then_the_patterns():
    training, shares, told = trained()
    assert shares[-1] < 0.2 * shares[0]
    assert [steps for steps, _ in told] == [4] * 10  # 16 patterns in batches of 4
    assert told[-1][1] < 0.2 * told[0][1]
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
    list(training.on_patterns(watched, np.array([3, 5, 7, 11, 13, 17]), 1.0).epoch())
    assert sorted(seen) == [3, 5, 7, 11, 13, 17]


def test_torch_is_left_as_it_was_found():
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    training = Training(plan(), [Images(0, SHAPE)], START, threads=threads + 1)
    list(islice(training.pretrained(), 2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_rate_follows_what_patterns_held_out_say_and_training_ends():
    """A plateau of the held-out loss lowers the rate until training ends, whatever the training loss does."""
    training = Training(plan(), [Images(0, SHAPE)], START)
    course, held, epochs = training.on_patterns(evaluate, np.arange(16), 1.0), np.array([1.0, 2.0, 3.0]), 1
    list(course.epoch())
    while course.after(held) and epochs < 40:
        list(course.epoch())
        epochs += 1
    assert epochs == 7 * 4 + 1
    before = training.vector()
    list(course.epoch())
    assert np.abs(training.vector() - before).max() < 0.05 * np.abs(before - START).max()
    falling = training.on_patterns(evaluate, np.arange(16), 1.0)
    list(falling.epoch())
    assert all(falling.after(held - 1e-6 * epoch) for epoch in range(40))


def test_a_loss_that_is_not_finite_ends_training():
    course = Training(plan(), [Images(0, SHAPE)], START).on_patterns(evaluate, np.arange(16), 1.0)
    list(course.epoch())
    course.loss = float("nan")
    assert not course.after(np.array([1.0, 2.0]))
