"""What networks do not support is refused in one line before a refinement; checks report what they need."""

import importlib.util
import sys

import pytest

from ptylive.engine.dgp import available
from ptylive.engine.refine import check, refine
from ptylive.engine.refine.validation.prior_settings import check_possible
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 32, "probe_modes": 1, "source_size_A": 0.0, "focal_spread_A": 0.0}


@pytest.fixture
def there(monkeypatch):
    """PyTorch, as far as its presence is tested before it is used."""
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
        ({"opr_components": 1}, "opr_components"),
        ({"obj_zblur_A": 3.0}, "obj_zblur_A"),
        ({"obj_zblur_A": "3 if epoch > 5 else 0"}, "obj_zblur_A"),
        ({"keep_probe_states_orthogonal": True}, "once per epoch"),
        ({"apply_gaussian_filter_px": "1 if epoch == 9 else 0"}, "once per epoch"),
        ({"sequence": "list(range(50)) if epoch < 3 else None"}, "sequence"),
    ],
)
def test_what_networks_cannot_do_is_refused_by_name(there, settings, word):
    with pytest.raises(RefinementError, match=word):
        check_possible(Preset.from_mapping({"method": "dgp", **settings}))


def test_what_holds_and_what_is_a_term_of_the_loss_is_taken(there):
    check_possible(Preset.from_mapping({"method": "dgp", "identical_slices": True, "atv_weight": 1.0}))
    check_possible(Preset.from_mapping({"method": "dgp", "update_beam_current": "epoch < 0"}))  # from an earlier stage


def test_checks_tell_memory_and_time_of_the_networks(there, simulated):
    plain = check(simulated.dataset, Preset.from_mapping(ODD))
    found = check(simulated.dataset, Preset.from_mapping({**ODD, "method": "dgp"}))
    assert "then a deep generative prior: 2 networks of 965 thousand weights" in found.reason
    assert found.memory_bytes - plain.memory_bytes > 20e6
    assert found.seconds > 5
