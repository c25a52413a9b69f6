"""Several scans of one place: which settings go with them."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.validation.scan_settings import LEAST_TILT_MRAD, check_scans
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

ONE = SimpleNamespace(scan_of=None, scan_names=())
TWO = SimpleNamespace(scan_of=np.array([0, 0, 1]), scan_names=("a", "b"))
TILTS = [[0.0, 0.0], [5.0, 0.0]]
THICK = {"num_slices": 4, "total_thickness_A": 40.0}


def preset(**values):
    return Preset.from_mapping(values)


@pytest.mark.parametrize(
    ("scans", "values"),
    [
        (ONE, {}),
        (ONE, {"num_slices": 1, "tilts_mrad": [[1.0] * 6]}),
        (TWO, {"scan_tilts_mrad": TILTS, **THICK}),
        (TWO, {"scan_tilts_mrad": [[3.0, 0.0], [3.0, 0.0]], "num_slices": 1}),
        (TWO, {"scan_tilts_mrad": [[0.0, 0.0], [0.0, 0.0]], **THICK}),
        (TWO, {"scan_tilts_mrad": [[0.0, 0.0], [LEAST_TILT_MRAD, 0.0]], **THICK}),
    ],
)
def test_what_goes_together(scans, values):
    check_scans(scans, preset(**values))


@pytest.mark.parametrize(
    ("scans", "values", "words"),
    [
        (ONE, {"scan_tilts_mrad": TILTS}, "scan_tilts_mrad lists 2 scans, there is one"),
        (TWO, {}, "2 scans, and scan_tilts_mrad is not given"),
        (TWO, {"scan_tilts_mrad": [*TILTS, [1.0, 1.0]]}, "2 scans, and scan_tilts_mrad lists 3"),
        (TWO, {"scan_tilts_mrad": [[0.0, 0.0], [0.01, 0.0]], **THICK}, "are these rad"),
        (TWO, {"scan_tilts_mrad": TILTS, "num_slices": 1}, "num_slices=1 cannot be used with several scans"),
        (TWO, {"scan_tilts_mrad": TILTS, **THICK, "tilts_mrad": [[1.0] * 6]}, "tilts_mrad cannot be used"),
        (TWO, {"scan_tilts_mrad": TILTS, **THICK, "field_order": 1}, "field_order cannot be used"),
    ],
)
def test_what_does_not_is_named(scans, values, words):
    with pytest.raises(MetadataError, match=words):
        check_scans(scans, preset(**values))


def test_the_remedy_has_a_tilt_for_each_scan_or_the_number_in_mrad():
    with pytest.raises(MetadataError) as refused:
        check_scans(TWO, preset())
    assert refused.value.hint == "give scan_tilts_mrad=[[0,0],[0,0]], mrad"
    with pytest.raises(MetadataError) as refused:
        check_scans(TWO, preset(scan_tilts_mrad=[[0.0, 0.0], [0.01, 0.0]], **THICK))
    assert refused.value.hint == "give mrad: 10"
