"""cupy in the place of ``strict_device``: with ``pytest --card`` the tests of a device run on a GPU.

How often the host waits cannot be counted there: counts compare as expected.
"""

from types import ModuleType
from typing import Any

import cupy

ON_CARD = True
DeviceArray = cupy.ndarray
Ufunc = cupy.ufunc


class Uncounted:
    """A count that nobody took: no comparison with it fails."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        return True

    __gt__ = __lt__ = __ge__ = __le__ = __eq__


class Traffic:
    """See ``strict_device.Traffic``."""

    to_host = to_device = Uncounted()

    def reset(self) -> None:
        """Nothing to forget."""


class Card(ModuleType):
    """cupy, and ``traffic``."""

    traffic = Traffic()

    def __getattr__(self, name: str) -> Any:
        return getattr(cupy, name)


device = Card("cupy")
