"""Settings for which an engine is not defined are refused by name, with an alternative."""

import pytest

from ptylive.engine.refine.validation.engine_settings import check_engine
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

REFUSED = [
    ("epie", {"update_probe_pos": True}, "moves obj and probe, not update_probe_pos"),
    ("lsq_ml", {"update_tilts": "epoch > 3"}, "moves obj and probe, not update_tilts"),
    ("adam", {"update_beam_current": True}, "moves obj and probe and probe_pos, not update_beam_current"),
    ("adam", {"early_stop": True}, "early_stop"),
    ("lsq_ml", {"precision": "double"}, "precision=double"),
    ("adam", {"opr_components": 2}, "opr_components"),
    ("epie", {"field_order": 1}, "field_order"),
    ("epie", {"probe_part": "phase"}, "probe_part=phase"),
    ("lsq_ml", {"algorithm": "ml"}, "algorithm=ml"),
    ("lsq_ml", {"loss_offset": 2.0}, "loss_offset"),
    ("lsq_ml", {"obj_modes": 2}, "obj_modes"),
    ("lsq_ml", {"weakly_damped_obj": True}, "weakly_damped_obj"),
    ("lsq_ml", {"atv_weight": 0.1}, "atv_weight"),
]


@pytest.mark.parametrize(("name", "settings", "words"), REFUSED, ids=[f"{n} {w}" for n, _, w in REFUSED])
def test_what_is_not_defined_is_refused(name, settings, words):
    with pytest.raises(RefinementError, match=f"optimizer={name} .*{words}") as caught:
        check_engine(Preset.from_mapping({"optimizer": name, **settings}))
    assert "optimizer=scaled" in caught.value.hint
    check_engine(Preset.from_mapping(settings))  # none of it concerns other optimisers


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("epie", {"algorithm": "ml", "obj_modes": 2, "num_slices": 3, "total_thickness_A": 9.0, "probe_modes": 4}),
        ("lsq_ml", {"loss_offset": 0.0, "num_slices": 3, "total_thickness_A": 9.0, "algorithm": "lsq_sqrt"}),
        ("adam", {"update_probe_pos": True, "atv_weight": 0.1, "update_obj": "epoch > 2"}),
    ],
)
def test_what_is_defined_passes(name, settings):
    check_engine(Preset.from_mapping({"optimizer": name, **settings}))
