"""The configuration of a server: what cannot work is reported before anything starts."""

import pytest

from ptylive.schema import MetadataError
from ptylive.server.process.config_file import load_config

AT = "tcp://127.0.0.1:"
OPEN = {"security": {"token": True}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": AT + "7001", "control": AT + "7001"}, "data and control both use port 7001"),
        ({"data": AT + "7001", "control": AT + "7002"}, "data and events .* both use port 7001"),
        ({"control": AT + "7002", "dashboard": "127.0.0.1:7001"}, "events .* and dashboard both use port 7001"),
        ({"dashboard": "127.0.0.1:7001", "metrics": "127.0.0.1:7001"}, "dashboard and metrics both use port 7001"),
        ({"dashboard": "localhost:7001", "metrics": "127.0.0.1:7001"}, "dashboard and metrics both use port 7001"),
        ({**OPEN, "dashboard": "0.0.0.0:7001", "metrics": "127.0.0.1:7001"}, "both use port 7001"),
    ],
)
def test_two_sockets_of_one_server_do_not_share_a_port(options, said):
    with pytest.raises(MetadataError, match=said):
        load_config(None, options, {})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data": AT + "0", "control": AT + "0", "dashboard": "127.0.0.1:0"},
        {"data": "ipc:///tmp/data", "control": AT + "7002", "dashboard": None, "metrics": None},
        {"data": AT + "7002", "protocol": "dectris-v2", "control": AT + "7002"},  # the detector's port, not ours
        {**OPEN, "dashboard": "10.0.0.1:7001", "metrics": "127.0.0.1:7001"},  # two addresses of one machine
        {"dashboard": "::1:7001", "metrics": None},
    ],
)
def test_ports_that_are_free_for_all(options):
    load_config(None, options, {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"watch": "/data/in", "protocol": "dectris-v2"}, "watch needs protocol native, not dectris-v2"),
        ({"watch": "/data/scans", "record": "/data/scans"}, "the recording folder '/data/scans' must lie elsewhere"),
        ({"watch": "/data", "record": "/data/scans"}, "must lie elsewhere"),
        ({"watch": "/data/scans/in", "record": "/data/scans"}, "must lie elsewhere"),
        ({"watch": "/data/in", "watch_settle_s": 0}, "watch_settle_s"),
    ],
)
def test_a_folder_that_would_be_filled_by_the_server_itself_is_not_watched(options, said):
    with pytest.raises(MetadataError, match=said):
        load_config(None, options, {})


@pytest.mark.parametrize("address", ["chat.example/hook", "file:///etc/passwd", "http://", "ftp://lab/x"])
def test_only_the_web_is_told_of_what_happened(address):
    with pytest.raises(MetadataError, match="is not an address like https://"):
        load_config(None, {"notify": address}, {})


def test_a_folder_beside_the_recordings_is_watched():
    assert load_config(None, {"watch": "/data/in", "record": "/data/scans"}, {}).watched_folder is not None
    assert load_config(None, {"watch": "/data/in", "record": None}, {}).watched_folder is not None
    assert load_config(None, {}, {}).watched_folder is None


def test_circular_links_are_left_to_whoever_opens_the_folder(tmp_path):
    (tmp_path / "round").symlink_to("round")
    assert load_config(None, {"watch": str(tmp_path / "round")}, {}).watched_folder == tmp_path / "round"


def test_the_cluster_of_refinements_stands_beside_their_settings(tmp_path):
    (tmp_path / "c.toml").write_text('[refine]\ncluster = "tcp://there:8786"\nprobe_modes = 4\n')
    config = load_config(tmp_path / "c.toml", {}, {})
    assert (config.refine_cluster, config.refine) == ("tcp://there:8786", {"probe_modes": 4})
    assert load_config(tmp_path / "c.toml", {}, {"refine.cluster": "local:2"}).refine_cluster == "local:2"
    assert load_config(None, {}, {"refine_cluster": "slurm"}).refine_cluster == "slurm"
    (tmp_path / "c.toml").write_text(
        '[refine]\ncluster = "slurm"\nwhen_cluster_missing = "wait"\nhere = false\nworkers = 3\n'
    )
    config = load_config(tmp_path / "c.toml", {}, {"refine.workers": 4})
    assert (config.refine_when_cluster_missing, config.refine_here, config.refine_workers) == ("wait", False, 4)
    with pytest.raises(MetadataError, match="refine_when_cluster_missing"):
        load_config(None, {}, {"refine.when_cluster_missing": "pray"})
