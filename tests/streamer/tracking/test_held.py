"""Messages that wait are bounded in what they take, also where they hold nothing."""

from ptylive.streamer.tracking.held import HeldMessages
from ptylive.streamer.wire import FramesMessage


def test_messages_without_content_are_bounded_too() -> None:
    held = HeldMessages(10_000)
    kept = [held.add(FramesMessage("u", n, 1, "bslz4", (b"",))) for n in range(100)]
    assert kept[0]
    assert not all(kept)
    assert len(held.take("u")) == sum(kept)
    assert held.add(FramesMessage("u", 0, 1, "bslz4", (b"",))), "what was taken counts no more"
