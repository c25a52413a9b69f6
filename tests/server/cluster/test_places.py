"""How many refinements of a batch run at the same time, and where."""

import os

import pytest

from ptylive.engine.backend import device
from ptylive.schema import MetadataError
from ptylive.server.cluster.places import default_workers, places, process_of_its_own
from ptylive.server.cluster.where import WorkersAsked


def wanted(workers=None, cluster=None, backend="cpu", threads=1, when="refuse"):
    with places(WorkersAsked(workers, cluster, when), backend, threads, lambda line: None) as (launch, number):
        assert launch is process_of_its_own
        return number()


def test_one_for_each_core_that_a_refinement_has_to_itself(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert (wanted(), wanted(threads=3), wanted(threads=20), wanted(workers=5)) == (8, 2, 1, 5)


def test_refinements_share_no_gpu(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "missing", lambda: "")
    assert (default_workers("auto", 1), default_workers("gpu", 1), default_workers("cpu", 1)) == (1, 1, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 0}, "0 workers"),
        ({"workers": 10**9}, "1000000000 workers"),
        ({"workers": 2, "cluster": "local:2"}, "--workers cannot be combined with --cluster"),
        ({"cluster": "nowhere"}, "'nowhere' is not a cluster"),
        ({"when": "wait"}, "--when-cluster-missing wait has no effect without --cluster"),
        ({"when": "soon"}, "'soon' is not a known way"),
    ],
)
def test_impossible_places_are_refused_in_a_line(given, said):
    with pytest.raises(MetadataError, match=said):
        wanted(**given)
