"""A server with keys: commands, events and frames for clients it knows, nothing for anybody else; and its metrics."""

import urllib.request
from pathlib import Path

import pytest
from running import last_json, ptylive, server

from ptylive.schema import MetadataError, ServerGoneError
from ptylive.server.cli.commands.demo import DATA_SET
from ptylive.server.process.config_file import load_config
from ptylive.server.wire.client import ControlClient, EventStream
from ptylive.simulators.data import bundled
from ptylive.streamer.sockets.security import ClientKeys, ServerKeys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key folder that every client here uses unless told otherwise."""
    monkeypatch.setenv("PTYLIVE_KEYS", str(tmp_path / "keys"))
    ServerKeys.open(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.mark.slow
def test_a_server_with_keys(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    ServerKeys.open(elsewhere)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "server.key").write_bytes((keys / "server.key").read_bytes())
    ClientKeys.open(stranger)
    with server(tmp_path / "recordings", "--keys", str(keys), "--metrics", "127.0.0.1:0") as running:
        sent = last_json(
            ptylive("replay", bundled(DATA_SET), "--to", running.data, "--control", running.control, "--json")
        )
        status = running.wait_for(lambda s: s["state"] == "complete")
        assert status["frames"] == sent["frames"]
        with urllib.request.urlopen(status["metrics"], timeout=60) as reply:
            assert f"ptylive_frames_placed_total {sent['frames']}" in reply.read().decode().splitlines()
        with EventStream(running.control, ("state",)) as events:
            assert events.next(timeout_s=60) is not None
        for wrong in (elsewhere, stranger):
            with ControlClient(running.control, timeout_s=1.0, keys=wrong) as client, pytest.raises(ServerGoneError):
                client.call("status")
            with EventStream(running.control, ("state",), keys=wrong) as events:
                assert events.next(timeout_s=1.0) is None
        monkeypatch.delenv("PTYLIVE_KEYS")
        refused = ptylive("status", "--control", running.control)
        assert refused.returncode == 1
        assert ptylive("status", "--control", running.control, "--keys", keys).returncode == 0
        monkeypatch.setenv("PTYLIVE_KEYS", str(keys))


def test_other_machines_need_keys(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="loopback only"):
        load_config(None, {"control": "tcp://0.0.0.0:9998"}, {})
    file = tmp_path / "server.toml"
    file.write_text(f'[server]\ncontrol = "tcp://0.0.0.0:9998"\n[security]\nkeys = "{tmp_path}"\n')
    assert load_config(file, {}, {}).key_folder == tmp_path
    assert load_config(None, {"data": "tcp://0.0.0.0:9999"}, {"security.keys": str(tmp_path)}).key_folder == tmp_path
    with pytest.raises(MetadataError, match="security"):
        load_config(None, {}, {"security.kyes": "x"})
