"""What a deep generative prior needs: refused in one line where it cannot be, its size said before it is trained."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dgp import available
from ptylive.engine.refine import check, refine
from ptylive.engine.refine.problem.generative import GROUPS, Generative, check_possible, held_groups
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 24, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0}


@pytest.fixture
def there(monkeypatch):
    """PyTorch, as far as anybody asks before it is used."""
    monkeypatch.setattr(available, "missing", lambda: "")


@pytest.mark.parametrize("begin", [refine, check])
def test_without_torch_nothing_begins_and_one_line_says_why(monkeypatch, simulated, begin):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(RefinementError, match="method=dgp: PyTorch is not installed") as caught:
        begin(simulated.dataset, Preset.from_mapping({**ODD, "method": "dgp"}))
    assert "pip install 'ptylive[dgp]'" in caught.value.line()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"update_obj": False}, "update_obj=true"),
        ({"update_probe_pos": True}, "update_probe_pos"),
        ({"update_beam_current": True}, "update_beam_current"),
        ({"obj_zblur_A": 3.0}, "obj_zblur_A"),
        ({"keep_probe_states_orthogonal": True}, "once an epoch"),
        ({"sequence": "list(range(50)) if epoch < 3 else None"}, "sequence"),
    ],
)
def test_what_networks_cannot_do_is_refused_by_name(there, settings, word):
    with pytest.raises(RefinementError, match=word):
        check_possible(Preset.from_mapping({"method": "dgp", **settings}))


def test_what_holds_and_what_is_a_term_of_the_loss_is_taken(there):
    check_possible(Preset.from_mapping({"method": "dgp", "identical_slices": True, "atv_weight": 1.0}))
    check_possible(Preset.from_mapping({"method": "dgp", "update_beam_current": "epoch < 0"}))  # kept by a stage before


def test_groups_are_disjoint_and_of_the_seed():
    groups = held_groups(1000, 0.0625, 3)
    whole = np.concatenate(groups)
    assert len(groups) == GROUPS
    assert len(np.unique(whole)) == len(whole) == 63
    np.testing.assert_array_equal(whole, np.concatenate(held_groups(1000, 0.0625, 3)))
    assert set(whole) != set(np.concatenate(held_groups(1000, 0.0625, 4)))
    with pytest.raises(RefinementError, match="needs 64 patterns, there are 63"):
        held_groups(63, 0.0625, 0)


def test_parts_lie_where_the_layout_has_them(simulated):
    thick = {**ODD, "probe_modes": 2, "num_slices": 3, "total_thickness_A": 30.0, "dgp_probe": True}
    preset = Preset.from_mapping(thick)
    problem = prepare(simulated.dataset, preset, None)
    networks = Generative.of(problem, preset, problem.layout, 135)
    of_object, of_probe = networks.parts
    assert (of_object.first, of_object.size) == (0, problem.layout.object_size)
    assert of_object.shape == (6, *problem.grid.shape)  # real and imaginary part of three slices
    assert (of_probe.first, of_probe.size) == (problem.layout.object_size, problem.layout.probe_size)
    assert of_probe.shape == (4, 24, 24)
    assert of_probe.waves
    assert [size.channels for size in networks.sizes] == [6, 4]
    assert networks.bytes == sum(size.bytes for size in networks.sizes)


def test_an_object_too_large_for_memory_is_refused_before_it_is_trained(simulated):
    preset = Preset.from_mapping({**ODD, "dgp_filters": 256})
    problem = prepare(simulated.dataset, preset, None)
    huge = replace(problem.layout, object_shape=(1, 60_000, 60_000))
    with pytest.raises(MetadataError, match="the networks of method=dgp would take") as caught:
        Generative.of(problem, preset, huge, 135).check_fits()
    assert "dgp_filters=8" in caught.value.line()


def test_checks_tell_memory_and_time_of_the_networks(there, simulated):
    plain = check(simulated.dataset, Preset.from_mapping(ODD))
    found = check(simulated.dataset, Preset.from_mapping({**ODD, "method": "dgp"}))
    assert "then a deep generative prior: 2 networks of 965 thousand weights" in found.reason
    assert found.memory_bytes - plain.memory_bytes > 20e6
    assert found.seconds > 5
