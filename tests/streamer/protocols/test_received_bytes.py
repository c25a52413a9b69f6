"""The buffer of a TCP stream grows to one message and no further, and keeps what has come."""

from ptylive.streamer.protocols.received_bytes import ReceivedBytes

MOST = 3 * 2**20


def test_it_grows_to_one_message_and_keeps_what_has_come() -> None:
    buffer = ReceivedBytes(MOST)
    sizes, number = [], 0
    while buffer._last < MOST:
        room = buffer.room()
        sizes.append(len(buffer._bytes))
        count = min(len(room), 2**19)
        room[:count] = bytes([number]) * count
        buffer._last, number = buffer._last + count, number + 1
    assert sizes[0] == 2**20
    assert max(sizes) == MOST
    assert [buffer._bytes[k * 2**19] for k in range(6)] == list(range(6))
    assert buffer.pending == MOST


def test_what_was_handed_on_makes_room_and_its_place_in_the_search_moves_along() -> None:
    buffer = ReceivedBytes(MOST)
    buffer.room()[:] = bytes(2**20 - 3) + b"abc"
    buffer._first, buffer._last, buffer._searched = 2**20 - 3, 2**20, 2**20 - 1
    assert len(buffer.room()) == 2**20 - 3
    assert bytes(buffer._view[buffer._first : buffer._last]) == b"abc"
    assert buffer._searched == 2
