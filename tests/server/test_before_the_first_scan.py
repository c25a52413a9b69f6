"""Commands to a server to which nothing has been sent yet."""

import pytest
from served_here import server_here

from ptylive.schema import CommandError


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    with server_here(tmp_path_factory.mktemp("idle"), {}, {}) as running:
        yield running


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("refine", "no scan to refine"),
        ("save", "nothing to save"),
        ("refine_stop", "no refinement is running"),
        ("refine_resume", "no refinement to resume"),
        ("trotter", "no scan yet"),
        ("undo", "nothing to undo"),
        ("check", "no scan yet"),
        ("dance", "unknown command 'dance'"),
    ],
)
def test_what_makes_no_sense_yet_is_refused(idle, command, words):
    with pytest.raises(CommandError, match=words):
        idle.call(command)


def test_there_are_no_maps_and_nothing_was_received(idle):
    assert idle.call("snapshot")["maps"] == []
    assert idle.call("received", uid="nobody")["ranges"] == []
