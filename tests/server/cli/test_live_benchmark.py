"""``bench live`` reports which device did what; its figures are for people."""

import math

import pytest
from quick_first import quick_first
from strict_device import device

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.open import PROCESSOR, MapDevice
from ptylive.server.cli.live_benchmark import _engine_costs, disc_frames, scan_header


@pytest.mark.parametrize(
    ("where", "words"),
    quick_first([(MapDevice(ArrayDevice(device, lambda: math.inf), "", 0), "gpu"), (PROCESSOR, "cpu")]),
)
def test_each_part_says_where_it_ran(where, words):
    told = _engine_costs(scan_header((16, 16)), disc_frames(64), where)
    assert [told[f"{part}_on"] for part in ("reduction", "transforms", "filters")] == [words] * 3
    assert told["frames"] == 192
    assert 0 < told["refresh_tenth_s"]
