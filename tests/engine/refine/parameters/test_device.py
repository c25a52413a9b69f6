"""Arrays of a device and of this machine."""

import numpy as np

from ptylive.engine.refine.parameters.device import on_host


class OnDevice:
    """As cupy's: it does not become an array of this machine by itself."""

    def __array__(self, *_: object, **__: object):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def get(self):
        return np.arange(3.0)


def test_an_array_of_a_device_is_fetched_and_one_of_this_machine_taken_as_it_is():
    own = np.ones(2)
    assert on_host(own) is own
    np.testing.assert_array_equal(on_host(OnDevice()), [0, 1, 2])
