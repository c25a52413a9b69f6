"""The number of coefficients kept for a scan does not depend on what else is installed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from ptylive.engine.imaging import registry
from ptylive.engine.live import plan
from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import MetadataError


def header_of(rows, cols):
    return SimpleNamespace(scan=SimpleNamespace(require_shape=lambda: (rows, cols)))


@pytest.mark.parametrize(("side", "planes"), [(64, 5.5), (1024, 2.5)])
def test_filters_of_ptylive_take_that_many_planes(side, planes):
    """OBF and tcBF take half a plane each, four times as much if sampled twice as finely; WDD takes one, SSB a half."""
    assert plan.filter_bytes(header_of(side, side)) == 8 * 1.6 * side * side * planes


def test_filters_of_other_packages_do_not_count(monkeypatch):
    before = plan.filter_bytes(header_of(64, 64))
    known = {**registry.methods(), "mine": replace(registry.methods()["obf"], name="mine", source="other")}
    monkeypatch.setattr(registry, "methods", lambda: known)
    monkeypatch.setattr(plan, "BUILDERS", {**plan.BUILDERS, "mine": known["mine"].build})
    assert plan.filter_bytes(header_of(64, 64)) == before


def test_what_is_no_header_is_refused_in_one_line():
    with pytest.raises(MetadataError, match="None is not a ScanHeader") as refused:
        LiveEngine(None)
    assert "ptylive.open_scan" in refused.value.hint
