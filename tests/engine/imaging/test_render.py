"""Which methods make which maps, and why some are missing."""

from dataclasses import dataclass

import numpy as np
import pytest

from ptylive.engine.imaging import render as module
from ptylive.engine.imaging.render import METHODS, OUTPUTS, check_methods, methods_for, render
from ptylive.schema import Calibration, MetadataError


def test_methods_are_in_the_engine_s_order_however_they_are_named():
    assert check_methods(reversed(METHODS)) == METHODS
    for method, maps in OUTPUTS.items():
        assert check_methods([f" {maps[-1]} "]) == check_methods([method, method]) == (method,)
    assert check_methods([]) == ()


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(MetadataError, match="unknown method 'hologram'") as refused:
        check_methods(["hologram"])
    assert METHODS[0] in refused.value.hint


def test_maps_name_their_methods_and_unknown_names_are_ignored():
    assert methods_for(["hologram"]) == frozenset()
    for method in METHODS:
        for name in OUTPUTS.get(method, (method,)):
            assert method in methods_for([name, "hologram"])
        assert method in methods_for([method])


@dataclass
class Visited:
    """A store, as far as it matters whether anything has arrived."""

    visited: np.ndarray


def test_before_the_first_frame_nothing_is_made_nor_missing():
    out = render(Visited(np.zeros(4, dtype=bool)), Calibration(), {}, METHODS)
    assert (out.maps, out.missing) == ([], {})


def test_what_a_method_lacks_is_told_and_stops_no_other(monkeypatch):
    method = METHODS[0]

    def maps_of(_method, _now, _filters):
        raise MetadataError("it needs energy_eV", "give it")
        yield

    monkeypatch.setattr(module, "Instant", lambda *given: None)
    monkeypatch.setattr(module, "_maps_of", maps_of)
    out = render(Visited(np.ones(4, dtype=bool)), Calibration(), {}, METHODS)
    assert out.maps == [] and set(out.missing) == set(METHODS)
    assert out.missing[method].startswith("it needs energy_eV")
