"""Where a server refines: what its configuration allows, and nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_refinement import Scripted

from ptylive.schema import Calibration, CommandError, Detector, MetadataError, Scan, ScanHeader
from ptylive.schema.preset import Preset
from ptylive.server.cluster.fallback import FallbackJob
from ptylive.server.commands import placement as placement_module
from ptylive.server.commands.placement import CLUSTER, HERE, AllowedPlaces, check_history
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.config_file import load_config
from ptylive.server.refinement.refine_job import RefineJob

ADDRESS = "tcp://there:8786"


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(placement_module, "JobProcess", Scripted)

    def at(place):
        return RefineJob(tmp_path / "a.h5", tmp_path / "r.h5", "run1", Preset(), Calibration(), place=place)

    return at


def test_without_a_cluster_there_is_this_machine(job):
    placement = AllowedPlaces(ServerConfig())
    assert placement.to_plain() == [{"name": "here", "words": "this machine"}]
    assert isinstance(placement.launch(job("")), Scripted)
    with pytest.raises(CommandError, match="'cluster' is not a place where refinements run") as caught:
        placement.checked("cluster")
    assert caught.value.hint == "use here"


def test_with_a_cluster_it_is_the_first_and_either_may_be_asked_for(job):
    placement = AllowedPlaces(ServerConfig(refine_cluster=ADDRESS))
    assert [one["words"] for one in placement.to_plain()] == [f"cluster {ADDRESS}", "this machine"]
    assert isinstance(placement.launch(job("")), FallbackJob)
    assert isinstance(placement.launch(job("here")), Scripted)
    placement.close()


def test_an_operator_may_keep_this_machine_for_frames(job):
    placement = AllowedPlaces(ServerConfig(refine_cluster=ADDRESS, refine_here=False))
    assert placement.names == ("cluster",)
    with pytest.raises(CommandError, match="is not a place where refinements run"):
        placement.launch(job("here"))
    with pytest.raises(MetadataError, match="refinements may not run on this machine, and no cluster is set"):
        AllowedPlaces(ServerConfig(refine_here=False))


def test_what_to_do_without_a_cluster_is_refused_where_there_is_none():
    with pytest.raises(MetadataError, match=r"when_cluster_missing = wait under \[refine\] has no effect"):
        AllowedPlaces(ServerConfig(refine_when_cluster_missing="wait"))
    AllowedPlaces(ServerConfig(refine_when_cluster_missing="refuse"))


@pytest.mark.parametrize(
    ("settings", "installed", "prepared"),
    [
        ({}, True, [40]),
        ({}, False, []),
        ({"backend": "cpu"}, True, []),
        ({"refine_cluster": ADDRESS}, True, []),
    ],
)
def test_a_process_stands_by_where_the_next_refinement_may_be_on_a_gpu_here(
    job, monkeypatch, settings, installed, prepared
):
    asked = []
    monkeypatch.setattr(placement_module.Standby, "prepare", lambda _self, pixels: asked.append(pixels))
    monkeypatch.setattr(placement_module.device, "may_be_there", lambda: installed)
    placement = AllowedPlaces(ServerConfig(**settings))
    header = ScanHeader(uid="a", series="s", frames=4, scan=Scan(shape=(2, 2)), detector=Detector(shape=(32, 40)))
    placement.stand_by(header)
    placement.stand_by(replace(header, detector=Detector()))  # coefficients of an unknown detector
    assert asked == prepared
    placement.close()


def test_the_process_that_stands_by_gets_the_job_and_ends_with_the_server(job, monkeypatch):
    closed = []
    monkeypatch.setattr(placement_module.Standby, "take", lambda _self: "a process")
    monkeypatch.setattr(placement_module.Standby, "close", lambda _self: closed.append(True))
    placement = AllowedPlaces(ServerConfig())
    assert placement.launch(job("")).process == "a process"
    placement.close()
    assert closed


def test_the_configuration_that_the_documents_show_is_one(tmp_path):
    document = Path(__file__).resolve().parents[3] / "docs" / "batch.md"
    blocks = re.findall(r"^```toml\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "c.toml").write_text(next(block for block in blocks if "when_cluster_missing" in block))
    placement = AllowedPlaces(load_config(tmp_path / "c.toml", {}, {}))
    assert placement.names == ("cluster",)
    assert placement.series("").request[2] == "wait"


def test_many_at_a_time_leave_room_for_frames(monkeypatch):
    monkeypatch.setattr(placement_module, "default_workers", lambda backend, threads: 9)
    assert AllowedPlaces(ServerConfig()).series("").request == (4, None, "refuse")
    assert AllowedPlaces(ServerConfig(refine_workers=7)).series("here").request == (7, None, "refuse")
    elsewhere = AllowedPlaces(ServerConfig(refine_cluster=ADDRESS, refine_when_cluster_missing="wait"))
    assert elsewhere.series("").request == (None, ADDRESS, "wait")
    assert elsewhere.series("").words == f"cluster {ADDRESS}"
    with pytest.raises(CommandError, match="is not a place"):
        elsewhere.series("moon")


def test_a_history_is_a_number_of_epochs_and_kept_on_this_machine():
    check_history(0, CLUSTER)
    check_history(5, HERE)
    for wrong in (-1, 2.0, True, 10**6):
        with pytest.raises(CommandError, match="history must be a whole number from 0 to"):
            check_history(wrong, HERE)
    with pytest.raises(CommandError, match="stored on the server's machine only"):
        check_history(5, CLUSTER)
