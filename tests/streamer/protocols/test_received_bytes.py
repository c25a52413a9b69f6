"""The buffer of a TCP stream grows to one message and no further, and keeps what has arrived and what is held."""

from ptylive.streamer.protocols.received_bytes import ReceivedBytes

USUAL, ROOM = 16 * 2**20, 2**20
MOST = 33 * 2**20


def test_it_grows_to_one_message_and_keeps_what_has_come() -> None:
    buffer = ReceivedBytes(MOST)
    sizes, number = [], 0
    while buffer._last < MOST:
        room = buffer.room()
        sizes.append(len(buffer._bytes))
        count = min(len(room), 2**19)
        room[:count] = bytes([number]) * count
        buffer._last, number = buffer._last + count, number + 1
    assert sizes[0] == USUAL
    assert max(sizes) == MOST + ROOM
    assert [buffer._bytes[k * 2**19] for k in range(34)] == list(range(34))
    assert buffer.pending == MOST
    buffer._first = buffer._last
    assert len(buffer.room()) == ROOM
    buffer._first = buffer._last = MOST + ROOM
    assert len(buffer.room()) == USUAL


def test_what_was_handed_on_makes_room_and_its_place_in_the_search_moves_along() -> None:
    buffer = ReceivedBytes(MOST)
    buffer.room()[:] = bytes(USUAL - 3) + b"abc"
    buffer._first, buffer._last, buffer._searched = USUAL - 3, USUAL, USUAL - 1
    assert len(buffer.room()) == USUAL - 3
    assert bytes(buffer._view[buffer._first : buffer._last]) == b"abc"
    assert buffer._searched == 2


def test_what_somebody_holds_is_not_written_over_and_memory_is_used_again() -> None:
    buffer, seen = ReceivedBytes(MOST), set[int]()
    for number in range(20):
        room = buffer.room()
        room[:] = bytes([number]) * len(room)
        buffer._last += len(room)
        held = buffer._part(buffer._first, buffer._last)
        buffer._first = buffer._last
        buffer.room()[:100] = bytes(100)
        assert bytes(held) == bytes([number]) * len(held)
        seen.add(id(held.obj))
    assert len(seen) == len(buffer._buffers) == 2


def test_when_all_are_held_another_one_is_taken_after_a_moment() -> None:
    buffer, held = ReceivedBytes(MOST), []
    for number in range(7):
        room = buffer.room()
        room[:1] = bytes([number])
        buffer._last += len(room)
        held.append(buffer._part(buffer._first, buffer._last))
        buffer._first = buffer._last
    assert [part[0] for part in held] == list(range(7))
    assert len({id(part.obj) for part in held}) == 7
