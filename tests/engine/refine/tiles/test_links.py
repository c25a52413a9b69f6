"""Messages between threads arrive in order; closing a link wakes whoever waits."""

import pytest

from ptylive.engine.refine.tiles.links import LinkLost, ThreadLinks


def test_messages_arrive_in_order_from_each_source(cut):
    links = ThreadLinks(3)
    ends = [links.of(tile) for tile in range(3)]
    for number in range(3):
        ends[0].send(2, bytes([number]))
    ends[1].send(2, b"b")
    assert ends[2].receive(1) == b"b"
    assert [ends[2].receive(0) for _ in range(3)] == [b"\0", b"\1", b"\2"]


def test_whoever_waits_when_all_is_over_is_told(cut):
    links = ThreadLinks(2)

    def wait():
        for _ in range(2):
            with pytest.raises(LinkLost):
                links.of(0).receive(1)

    cut.together([wait, links.close])
