"""What somebody typed as the arguments of a command: sent as it is, or refused before anything is sent."""

from collections.abc import Iterator

import pytest

from ptylive.schema import CommandError, ServerGoneError
from ptylive.server.wire.client import ControlClient


@pytest.fixture(scope="module")
def client() -> Iterator[ControlClient]:
    with ControlClient("tcp://127.0.0.1:1", timeout_s=0.01) as one:
        yield one


@pytest.mark.parametrize("name", ["id", "command"])
def test_the_envelopes_own_names_are_refused(client: ControlClient, name: str) -> None:
    with pytest.raises(CommandError, match=f"no command takes '{name}'"):
        client.ask("status", {name: "shutdown"})


@pytest.mark.parametrize("name", ["timeout_s", "self", "arguments", "a b"])
def test_other_names_are_sent(client: ControlClient, name: str) -> None:
    with pytest.raises(ServerGoneError):
        client.ask("status", {name: 1})
