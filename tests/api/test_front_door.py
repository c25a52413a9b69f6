"""``import ptylive``: few imports, all public names, and examples that hold."""

import doctest
import subprocess
import sys

import pytest

import ptylive
import ptylive.scans


def test_it_loads_nothing_heavy():
    heavy = ("numpy", "numba", "h5py", "bokeh", "zmq", "scipy", "pydantic")
    code = f"import ptylive, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ptylive.__all__)
def test_every_public_name_is_there_and_explained(name):
    found = getattr(ptylive, name)
    assert isinstance(found, str) or found.__doc__
    assert name in dir(ptylive)


def test_any_other_name_is_none():
    with pytest.raises(AttributeError, match="no attribute 'open_scans'"):
        _ = ptylive.open_scans


def test_examples():
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    done = doctest.testmod(ptylive.scans, optionflags=flags)
    assert done.attempted > 0 and done.failed == 0
