"""Map settings that come with a batch: which of them apply to the start of a refinement, and how masks are found."""

import numpy as np
import pytest

from ptylive.application.batch.maps import start_map_settings, with_absolute_masks
from ptylive.schema import MetadataError

SET = {"wdd.epsilon": 0.1, "obf.noise": 3.0, "ssb.crop": 0.7}


def test_the_start_has_those_of_its_map():
    assert start_map_settings({}, SET) == {"obf.noise": 3.0}
    assert start_map_settings({"start_map": "ssb"}, SET) == {"ssb.crop": 0.7}
    assert start_map_settings({"start_map": "wdd_phase"}, SET) == {"wdd.epsilon": 0.1}
    assert start_map_settings({"start_map": "tcbf"}, SET) == {}


def test_masks_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"left": "mask.npy", "haadf": "ring:60mrad,200mrad"}
    assert with_absolute_masks(asked) == {"left": str(tmp_path / "mask.npy"), "haadf": "ring:60mrad,200mrad"}


@pytest.mark.parametrize("what", [np.ones((2, 2)), 5, None])
def test_a_detector_that_is_no_text_is_refused_by_its_name(what):
    with pytest.raises(MetadataError, match="detectors: 'a' is not text but of type ") as caught:
        with_absolute_masks({"b": "lost", "a": what})
    assert "numpy.save" in caught.value.line() and "\n" not in caught.value.line()
