"""Options for the workers that share a refinement; impossible ones are reported before a cluster is contacted."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from ptylive.engine.refine.tiles.shared_run import Shared
from ptylive.schema import MetadataError, RefinementError
from ptylive.schema.preset import Preset
from ptylive.server.cli.refine_together import shared_by
from ptylive.server.cluster import opening


@pytest.fixture
def asked(monkeypatch):
    """The clusters that were opened."""
    found = []

    @contextmanager
    def opened(text, threads, tell):
        found.append((text, threads))
        yield SimpleNamespace()
        found.append("closed")

    monkeypatch.setattr(opening, "opened", opened)
    return found


def test_without_workers_a_refinement_is_shared_by_nobody(asked):
    with shared_by(None, "local:2", Preset(), "cpu", 1, print) as sharing:
        assert sharing is None
    assert asked == []


def test_workers_are_those_of_the_cluster(asked):
    with shared_by(3, "local:2", Preset(), "cpu", 4, print) as sharing:
        assert isinstance(sharing, Shared)
        assert sharing.workers.tiles == 3
        assert asked == [("local:2", 4)]
    assert asked[-1] == "closed"


def test_workers_of_nowhere_are_a_line(asked):
    with pytest.raises(MetadataError) as refused, shared_by(3, None, Preset(), "cpu", 1, print):
        pass
    assert refused.value.line() == "--workers needs a cluster: choose one, for example --cluster local:3"


def test_what_cannot_be_shared_is_said_before_a_cluster_is_asked(asked):
    preset = Preset(opr_components=2)
    with pytest.raises(RefinementError, match="opr_components"), shared_by(2, "local:2", preset, "cpu", 1, print):
        pass
    assert asked == []
