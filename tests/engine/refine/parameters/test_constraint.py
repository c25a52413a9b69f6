"""Several constraints applied one after the other."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.constraint import Constraints
from ptylive.schema import RefinementError


class Adds:
    """Leaves a trace when called."""

    def __init__(self, value):
        self.value = value

    def project_gradient(self, layout, vector, gradient, xp):
        gradient *= self.value

    def restore_fixed(self, layout, vector, xp):
        vector += self.value


class Failing(Adds):
    def restore_fixed(self, layout, vector, xp):
        raise ValueError("nothing to restore")


Failing.__module__ = "somebody.else"


def test_none_is_none():
    assert Constraints.of() is Constraints.of(None, None) is None


def test_one_after_the_other():
    both = Constraints.of(Adds(2.0), None, Adds(3.0))
    gradient, vector = np.ones(2), np.ones(2)
    both.project_gradient(None, vector, gradient, np)
    both.restore_fixed(None, vector, np)
    np.testing.assert_array_equal([gradient, vector], [[6, 6], [6, 6]])


def test_what_a_plug_in_raises_is_one_line():
    with pytest.raises(RefinementError, match=r"Failing of the plug-in somebody.else failed: ValueError: nothing to"):
        Constraints.of(Failing(1.0)).restore_fixed(None, np.ones(2), np)
