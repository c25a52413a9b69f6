"""Torch backpropagates through a loss that is computed elsewhere."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'ptylive[dgp]'")

from ptylive.engine.dgp.bridge import loss_of, to_array, to_tensor  # noqa: E402


def test_the_gradient_reaches_what_made_the_vector():
    """The gradient of sum c (a w)^3 by w is 3 c a^3 w^2, in double precision."""
    rng = np.random.default_rng(2)
    a, w = (torch.tensor(rng.normal(size=6)) for _ in range(2))
    c = rng.normal(size=(4, 6))
    w.requires_grad_()

    def evaluate(vector, patterns):
        return float((c[patterns] * vector**3).sum()), (c[patterns] * 3 * vector**2).sum(0)

    loss = loss_of(a * w, evaluate, np.array([0, 2]))
    (5 * loss).backward()
    some = torch.tensor(c[[0, 2]].sum(0))
    torch.testing.assert_close(loss.detach(), (some * (a * w.detach()) ** 3).sum())
    torch.testing.assert_close(w.grad, 5 * 3 * some * a**3 * w.detach() ** 2)


def test_arrays_and_tensors_share_their_memory():
    array = np.zeros(3, "f4")
    tensor = to_tensor(array, torch.device("cpu"))
    tensor[1] = 2.0
    assert array[1] == 2.0
    assert to_array(tensor, np)[1] == 2.0
    assert np.shares_memory(to_array(tensor, np), array)
