"""Keys: files, admitted clients, and that nobody else gets anything in or out of any socket."""

import stat
import time
from pathlib import Path

import pytest
import zmq
from stream_tools import connected, make_frames, make_header, messages_of, send
from zmq.utils.monitor import recv_monitor_message

from ptylive.schema import PtyliveError, ServerGoneError
from ptylive.simulators.sender import Sender, SendPatience
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.sockets.security import ClientKeys, Gate, ServerKeys, client_keys
from ptylive.streamer.wire import ArmMessage


def remote(folder: Path, server: ServerKeys, *, known_as: str = "") -> ClientKeys:
    """Keys of a client on another machine, which is admitted if it has a name."""
    folder.mkdir()
    (folder / "server.key").write_bytes((server.folder / "server.key").read_bytes())
    keys = ClientKeys.open(folder)
    if known_as:
        (server.folder / "clients" / f"{known_as}.key").write_bytes((folder / "client.key").read_bytes())
    return keys


def test_a_first_run_fills_the_folder_and_the_next_finds_it(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first, second = ServerKeys.open(folder), ServerKeys.open(folder)
    assert (first.public, first.secret) == (second.public, second.secret)
    for name in ("server.key_secret", "client.key_secret"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    mine = ClientKeys.open(folder)
    assert mine.server == first.public
    assert first.allows(mine.public)
    assert not first.allows(zmq.curve_keypair()[0])
    assert first.secret.decode() not in repr(first)
    assert mine.secret.decode() not in repr(mine)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_pyzmq_reads_the_files(tmp_path: Path) -> None:
    keys = ServerKeys.open(tmp_path)
    assert zmq.auth.load_certificate(tmp_path / "server.key_secret") == (keys.public, keys.secret)
    assert zmq.auth.load_certificate(tmp_path / "server.key") == (keys.public, None)


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    ServerKeys.open(tmp_path)
    (tmp_path / "server.key_secret").chmod(0o640)
    with pytest.raises(PtyliveError, match="can be read by others") as refused:
        ServerKeys.open(tmp_path)
    assert "chmod 600" in refused.value.hint


@pytest.mark.parametrize("content", ["", "curve\n", 'public-key = "short"\nsecret-key = "x"\n'])
def test_a_file_without_keys_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "server.key_secret"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(PtyliveError, match=r"server\.key_secret does not hold a pair of keys"):
        ServerKeys.open(tmp_path)


def test_a_client_needs_the_servers_key(tmp_path: Path) -> None:
    with pytest.raises(PtyliveError, match=r"holds no server\.key"):
        ClientKeys.open(tmp_path)


def test_a_servers_key_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_text("half a")
    with pytest.raises(PtyliveError, match=r"server\.key does not hold a key\s*copy it from"):
        ClientKeys.open(tmp_path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(PtyliveError, match="key folder"):
        ServerKeys.open(tmp_path / "keys")


def test_the_environment_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PTYLIVE_KEYS", raising=False)
    assert client_keys() is None
    server = ServerKeys.open(tmp_path)
    monkeypatch.setenv("PTYLIVE_KEYS", str(tmp_path))
    found = client_keys()
    assert found is not None
    assert found.server == server.public


@pytest.fixture
def receiver(tmp_path: Path):
    keys = ServerKeys.open(tmp_path / "server")
    running = Receiver(ReceiverSettings("tcp://127.0.0.1:0", keys=keys), on_event=lambda event: None)
    running.start()
    yield running, keys
    running.stop()


def deliver(address: str, keys: ClientKeys | None, seconds: float = 1.0) -> None:
    """Send a whole scan, waiting for a connection at most ``seconds``. Raises ServerGoneError."""
    header = make_header()
    with Sender(address, SendPatience(first_s=seconds), keys) as sender:
        sender.arm(header)
        for message in messages_of(header, make_frames(header)):
            sender.frames(message)


def test_a_refused_client_that_tries_again_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = ServerKeys.open(tmp_path)
    for _ in range(20):
        assert not keys.callback("", b"a stranger")
    assert not keys.callback("", b"another stranger")
    assert len(caplog.records) == 2


def state_soon(receiver: Receiver, state: str) -> None:
    deadline = time.monotonic() + 60
    while receiver.status().state != state:
        assert time.monotonic() < deadline, receiver.status()
        time.sleep(0.01)


def test_frames_of_known_clients_only(receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running, keys = receiver
    stranger = remote(tmp_path / "stranger", keys)
    elsewhere = ClientKeys.open(ServerKeys.open(tmp_path / "other").folder)
    for wrong in (None, elsewhere):
        with pytest.raises(ServerGoneError, match="no server takes data"):
            deliver(running.address, wrong, seconds=0.7)
    give_up = time.monotonic() + 60
    while "unknown key" not in caplog.text and time.monotonic() < give_up:
        with pytest.raises(ServerGoneError):
            deliver(running.address, stranger, seconds=0.7)
    assert running.status().state == "waiting"
    assert running.status().rejected == {}
    assert "unknown key" in caplog.text
    deliver(running.address, ClientKeys.open(keys.folder), seconds=60)
    state_soon(running, "complete")


def test_a_client_is_let_in_while_the_server_runs_and_shut_out_again(receiver, tmp_path: Path) -> None:
    running, keys = receiver
    late = remote(tmp_path / "late", keys, known_as="late")
    deliver(running.address, late, seconds=60)
    state_soon(running, "complete")
    (keys.folder / "clients" / "late.key").unlink()
    with pytest.raises(ServerGoneError):
        deliver(running.address, late, seconds=0.7)


def test_plain_sockets_get_nothing_through(receiver) -> None:
    running, _ = receiver
    with connected(running.address) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDTIMEO, 300)
        send(socket, ArmMessage(make_header()))
        time.sleep(0.5)
        assert running.status().state == "waiting"


HANDSHAKES = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


def test_without_an_authenticator_nobody_is_let_in(tmp_path: Path) -> None:
    keys = ServerKeys.open(tmp_path)
    elsewhere, context = zmq.Context(), zmq.Context()  # a connection that has just ended might still appear alive
    gate = Gate(elsewhere, keys)
    socket, client = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    try:
        gate.protect(socket)
        ends = socket.get_monitor_socket(HANDSHAKES)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        ClientKeys.open(keys.folder).apply(client)
        client.connect(f"tcp://127.0.0.1:{port}")
        assert recv_monitor_message(ends)["event"] != zmq.Event.HANDSHAKE_SUCCEEDED
    finally:
        gate.close()
        for each in (elsewhere, context):
            each.destroy(linger=0)  # a context that is not destroyed blocks forever


def test_while_the_list_of_clients_cannot_be_read_nobody_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ServerKeys.open(tmp_path)
    client = ClientKeys.open(tmp_path)
    assert keys.callback("ptylive", client.public)

    def fail(_self: ServerKeys, _key: bytes) -> bool:
        raise PermissionError(13, "Permission denied", str(tmp_path / "clients"))

    monkeypatch.setattr(ServerKeys, "allows", fail)
    assert not keys.callback("ptylive", client.public)
    assert "no client is accepted" in caplog.text
