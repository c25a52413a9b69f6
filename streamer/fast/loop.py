"""The compiled receive loop: frames messages of one scan into a block of checked patterns, without the GIL.

It takes only whole messages of new frames. Everything else (other messages, repeated frames, unsupported ones) is left
to Python from its first part on: the other parts are still in the socket. One thread calls it, the one that owns the
socket, and it returns at least every few thousand messages, so that Python handles stopping, ticks and block hand-over.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.bslz4 import CORRUPT, DECODED, check_bslz4
from ptylive.streamer.fast.header import CODEC, CODEC_BSLZ4, COUNT, FIRST, SENDER, read_frames_header
from ptylive.streamer.fast.image_header import NUMBER, SERIES, announced_size, read_image_header
from ptylive.streamer.fast.libzmq import (
    AGAIN,
    CONNECTION,
    INTERRUPTED,
    MESSAGE_WORDS,
    NO_WAIT,
    copy_bytes,
    last_error,
    msg_close,
    msg_data,
    msg_get,
    msg_init,
    msg_more,
    msg_recv,
    msg_size,
    sleep_us,
)
from ptylive.streamer.fast.map_header import NUMBER as MAP_NUMBER
from ptylive.streamer.fast.map_header import START, STOP, read_image_map
from ptylive.streamer.fast.mark import mark
from ptylive.streamer.fast.memory import COMPILED, INNER, bytes_at
from ptylive.streamer.marks import KIND

TAKE, IDLE, HEADER, BROKEN = 0, 1, 2, 3
"""Why the loop returned: take the block (full, or the sender paused); nothing arrived in a tick; a message is left to
Python, its first part is in ``header``; the socket is gone.
"""

FRAMES, BLOCK_BYTES, PENDING, HEADER_BYTES, MORE = 0, 1, 2, 3, 4
TRUNCATED_PATTERNS, WRONG_SIZE_PATTERNS, CORRUPT_PATTERNS = 5, 6, 7
TRUNCATED_MESSAGES, OVERSIZED_MESSAGES, WRONG_PARTS_MESSAGES = 8, 9, 10
MESSAGES, BYTES, SECOND_BYTES, SOURCE = 11, 12, 13, 14
_MESSAGE = 16
STATE_WORDS = _MESSAGE + MESSAGE_WORDS
"""Positions in ``state``: frames and bytes in the block, whether a header waits for room, length of a header left to
Python and whether parts follow it, counts of refused patterns and messages, messages taken with their bytes, the
length of a second part that was read before a message was left to Python, the connection of a native message that
is left to Python, and libzmq's message.

The message lies there because the caller keeps ``state``: an array made in compiled code is freed after its last use by
name, while libzmq still writes to its address.
"""

_GOT = -1
_RAW, _CODED = KIND["none"], KIND["bslz4"]
_MOST_MESSAGES = 16384
_PAUSE_US, _PAUSES = 200, 25


@nb.jit(**COMPILED)
def coded_bound(pattern_bytes):
    """Largest number of bytes of a coded pattern, whatever the block length of its coder."""
    return 2 * pattern_bytes + 1024


@nb.jit(**INNER)
def _receive(message, socket, flags):
    """Receive the next part: 0, or the error. Interrupted calls are repeated."""
    while msg_recv(message, socket, np.int32(flags)) < 0:
        error = last_error()
        if error != INTERRUPTED:
            return error
    return 0


@nb.jit(**INNER)
def _first_part(message, socket, state, pauses):
    """Wait for a message: (GOT, pauses so far), or the reason why the loop should return.

    While a block is open, the wait is limited to a few pauses, so that the block is handed over soon.
    """
    while True:
        error = _receive(message, socket, NO_WAIT if state[FRAMES] > 0 else 0)
        if error == 0:
            return _GOT, pauses
        if error != AGAIN:
            return BROKEN, pauses
        if state[FRAMES] == 0:
            return IDLE, pauses
        if pauses == _PAUSES:
            return TAKE, pauses
        pauses += 1
        sleep_us(nb.uint32(_PAUSE_US))


@nb.jit(**INNER)
def _leave_to_python(data, header, state):
    """Copy a first part for Python; one too long to be a header is cut to one byte more than a header may have."""
    size = min(data.size, header.size)
    header[:size] = data[:size]
    state[HEADER_BYTES] = size
    state[SECOND_BYTES] = 0


@nb.jit(**INNER)
def _is_among(numbers, number):
    for candidate in numbers:
        if candidate == number:
            return True
    return False


@nb.jit(**INNER)
def _all_new(received, first, count):
    for k in range(first, first + count):
        if received[k]:
            return False
    return True


@nb.jit(**INNER)
def _take_raw(data, k, first, count, nbytes, block, index, received, marks, state):
    """Take the one part of an uncompressed message."""
    start = state[FRAMES]
    if k == 0 and data.size == count * nbytes:
        target = nb.uintp(block.ctypes.data) + nb.uintp(state[BLOCK_BYTES])
        copy_bytes(target, nb.uintp(data.ctypes.data), nb.uintp(data.size))
        for n in range(count):
            index[start + n] = first + n
            marks[first + n] = mark(target + nb.uintp(n * nbytes), nbytes, _RAW)
        received[first : first + count] = True
        state[FRAMES] = start + count
        state[BLOCK_BYTES] += data.size


@nb.jit(**INNER)
def _take_coded(data, number, itemsize, nbytes, block, index, ends, received, marks, state):
    """Check one pattern of a compressed message and copy it unchanged."""
    at, start = state[FRAMES], state[BLOCK_BYTES]
    if data.size > coded_bound(nbytes):
        outcome = CORRUPT  # longer than any coding of such a pattern; so ``block`` never overflows
    else:
        outcome = check_bslz4(data, itemsize, nbytes)
    if outcome != DECODED:
        state[TRUNCATED_PATTERNS + outcome - 1] += 1
        return
    target = nb.uintp(block.ctypes.data) + nb.uintp(start)
    copy_bytes(target, nb.uintp(data.ctypes.data), nb.uintp(data.size))
    state[BLOCK_BYTES] = start + data.size
    ends[at] = start + data.size
    index[at] = number
    received[number] = True
    marks[number] = mark(target, data.size, _CODED)
    state[FRAMES] = at + 1


@nb.jit(**INNER)
def _take_parts(message, socket, values, itemsize, nbytes, block, index, ends, received, marks, state):
    """Take all further parts of a message whose header has been read; 0, or libzmq's error."""
    first, count, coded = values[FIRST], values[COUNT], values[CODEC] == CODEC_BSLZ4
    before_frames, before_bytes = state[FRAMES], state[BLOCK_BYTES]
    refused = state[TRUNCATED_PATTERNS], state[WRONG_SIZE_PATTERNS], state[CORRUPT_PATTERNS]
    k, size, message_bytes, more = 0, 0, 0, True
    while more:
        error = _receive(message, socket, 0)
        if error != 0:
            return error
        more = msg_more(message) != 0
        data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
        size = data.size
        message_bytes += size
        if not coded:
            _take_raw(data, k, first, count, nbytes, block, index, received, marks, state)
        elif k < count:
            _take_coded(data, first + k, itemsize, nbytes, block, index, ends, received, marks, state)
        k += 1
    if k != (count if coded else 1):
        for n in range(before_frames, state[FRAMES]):
            received[index[n]] = False
        state[FRAMES], state[BLOCK_BYTES] = before_frames, before_bytes
        state[TRUNCATED_PATTERNS], state[WRONG_SIZE_PATTERNS], state[CORRUPT_PATTERNS] = refused
        state[WRONG_PARTS_MESSAGES] += 1
    elif not coded and size != count * nbytes:
        state[TRUNCATED_MESSAGES if size < count * nbytes else OVERSIZED_MESSAGES] += 1
    state[MESSAGES] += 1
    state[BYTES] += message_bytes
    return 0


@nb.jit(**COMPILED)
def receive_block(
    socket,
    uid,
    senders,
    codec,
    itemsize,
    nbytes,
    received,
    marks,
    room,
    largest,
    block,
    index,
    ends,
    state,
    values,
    header,
):
    """Receive until there is something for Python to do and return the reason: TAKE, IDLE, HEADER or BROKEN.

    socket: address of a PULL socket; uid (bytes,) uint8 and received bool (frames of the scan,): the scan; senders
    int64 (few,) and codec: those that are accepted; nbytes: of a decoded pattern; marks (frames,) uint32: of received
    frames, see `streamer/marks.py`; largest: most patterns of a message, one with more is left to Python. The block has
    room for ``room`` patterns: block (bytes,) uint8 with the patterns as received, back to back; index (n,) int64 their
    numbers; ends (n,) int64 of the coded ones. state int64 as above, values of a pending header; header uint8.
    """
    message = nb.uintp(state.ctypes.data) + nb.uintp(8 * _MESSAGE)
    msg_init(message)
    pauses, outcome = 0, TAKE
    for _ in range(_MOST_MESSAGES):
        if state[PENDING] == 0:
            status, pauses = _first_part(message, socket, state, pauses)
            if status != _GOT:
                outcome = status
                break
            data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
            state[MORE] = nb.int64(msg_more(message) != 0)
            count = np.int64(0)
            plain = state[MORE] != 0 and read_frames_header(data, uid, values)
            plain = plain and values[CODEC] == codec and _is_among(senders, values[SENDER])
            if plain:
                count = values[COUNT]
                plain = (
                    count <= min(room, largest)
                    and values[FIRST] <= received.size - count
                    and _all_new(received, values[FIRST], count)
                )
            if not plain:
                _leave_to_python(data, header, state)
                state[SOURCE] = msg_get(message, np.int32(CONNECTION))
                outcome = HEADER
                break
        if state[FRAMES] + values[COUNT] > room:
            state[PENDING] = 1
            break
        state[PENDING] = 0
        error = _take_parts(message, socket, values, itemsize, nbytes, block, index, ends, received, marks, state)
        if error != 0:
            outcome = BROKEN
            break
        if state[FRAMES] == room:
            break
    msg_close(message)
    return outcome


@nb.jit(**COMPILED)
def receive_images(
    socket,
    series,
    before,
    after,
    offset,
    itemsize,
    nbytes,
    received,
    marks,
    room,
    block,
    index,
    ends,
    state,
    values,
    header,
):
    """Like :func:`receive_block`, for images of DECTRIS stream version 1 that arrive as one message each, coded bslz4.

    series: its number; before, after (bytes,) uint8: the second part around its ``size``; offset: number of the image
    that is frame 0 of the scan. A message left to Python has one part in ``header``, or two back to back.
    """
    message = nb.uintp(state.ctypes.data) + nb.uintp(8 * _MESSAGE)
    msg_init(message)
    pauses, outcome = 0, TAKE
    for _ in range(_MOST_MESSAGES):
        if state[FRAMES] == room:
            break
        status, pauses = _first_part(message, socket, state, pauses)
        if status != _GOT:
            outcome = status
            break
        data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
        state[MORE] = nb.int64(msg_more(message) != 0)
        _leave_to_python(data, header, state)
        number = np.int64(-1)
        if state[MORE] != 0 and read_image_header(data, values) and values[SERIES] == series:
            number = values[NUMBER] - offset
        if number < 0 or number >= received.size or received[number]:
            outcome = HEADER
            break
        if _receive(message, socket, 0) != 0:
            outcome = BROKEN
            break
        data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
        state[MORE] = nb.int64(msg_more(message) != 0)
        size = announced_size(data, before, after)
        if size < 0 or state[MORE] == 0:
            start = state[HEADER_BYTES]
            second = min(data.size, header.size - start)
            header[start : start + second] = data[:second]
            state[SECOND_BYTES] = second
            outcome = HEADER
            break
        k, more = 0, True
        while more:
            if _receive(message, socket, 0) != 0:
                outcome = BROKEN
                break
            more = msg_more(message) != 0
            data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
            state[BYTES] += data.size
            if k == 0 and data.size != size:
                state[TRUNCATED_MESSAGES if data.size < size else OVERSIZED_MESSAGES] += 1
            elif k == 0:
                _take_coded(data, number, itemsize, nbytes, block, index, ends, received, marks, state)
            k += 1
        state[MESSAGES] += 1
        if outcome == BROKEN:
            break
    msg_close(message)
    return outcome


@nb.jit(**COMPILED)
def receive_maps(
    socket,
    series,
    unique,
    before,
    offset,
    itemsize,
    nbytes,
    received,
    marks,
    room,
    block,
    index,
    ends,
    state,
    values,
    header,
):
    """Like :func:`receive_block`, for images of DECTRIS stream version 2, one message of one part each, coded bslz4.

    series, unique, before: their encoding, see :func:`ptylive.streamer.fast.map_header.read_image_map`.
    """
    message = nb.uintp(state.ctypes.data) + nb.uintp(8 * _MESSAGE)
    msg_init(message)
    pauses, outcome = 0, TAKE
    for _ in range(_MOST_MESSAGES):
        if state[FRAMES] == room:
            break
        status, pauses = _first_part(message, socket, state, pauses)
        if status != _GOT:
            outcome = status
            break
        data = bytes_at(msg_data(message), nb.int64(msg_size(message)))
        state[MORE] = nb.int64(msg_more(message) != 0)
        number = np.int64(-1)
        if state[MORE] == 0 and read_image_map(data, series, unique, before, values):
            number = values[MAP_NUMBER] - offset
        if number < 0 or number >= received.size or received[number]:
            _leave_to_python(data, header, state)
            outcome = HEADER
            break
        coded = data[values[START] : values[STOP]]
        _take_coded(coded, number, itemsize, nbytes, block, index, ends, received, marks, state)
        state[MESSAGES] += 1
        state[BYTES] += data.size
    msg_close(message)
    return outcome
