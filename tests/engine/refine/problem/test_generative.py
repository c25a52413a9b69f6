"""Requirements of a deep generative prior before training: networks for the layout, and patterns to judge them."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.problem.generative import GROUPS, Generative, held_groups
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 24, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0}


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
    networks = Generative.of(preset.prior, problem.layout, 135, 1e4, probe_refined=True, seed=0)
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
        Generative.of(preset.prior, huge, 135, 1e4, probe_refined=True, seed=0).check_fits()
    assert "dgp_filters=8" in caught.value.line()
