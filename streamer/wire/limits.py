"""All bounds that the receiver puts on what a sender may request, checked before anything is allocated; its address."""

from __future__ import annotations

DEFAULT_DATA = "tcp://127.0.0.1:9999"
"""Where frames of the native stream are received unless another address is given."""

PROTOCOL_VERSION = 1
"""Version of the native stream this program speaks (docs/protocol.md)."""

MAX_HEADER_BYTES = 64 * 2**10
"""Bytes of part 0 of a message: a flat msgpack map."""
MAX_PART_BYTES = 256 * 2**20
"""Bytes of any further part; also ZeroMQ's MAXMSGSIZE, so a larger part never enters this process."""
MAX_MESSAGE_BYTES = 512 * 2**20
"""Bytes of all parts of one message together."""
MAX_BATCH = 4096
"""Patterns in one message."""
MAX_PARTS = MAX_BATCH + 8
"""Parts of one message."""
MAX_FRAMES = 2**28
"""Patterns of one scan, flyback and repeats included: 16384 x 16384 points, one byte each in every per-frame list."""
MAX_DETECTOR_SIDE = 8192
"""Pixels along one side of a pattern."""
MAX_FRAME_BYTES = 64 * 2**20
"""Bytes of one decoded pattern, or of one vector of coefficients."""
MAX_COEFFICIENTS = 4096
"""Numbers in one compressed pattern."""
MAX_ARRAY_DIMENSIONS = 3
"""Axes of an array that accompanies an arm message."""
MAX_CODEC_BLOCK_BYTES = 2**20
"""Block length that a compressed pattern may declare."""
MAX_UID_LENGTH = 64
"""Characters of a scan's uid (a uuid4 has 36)."""
MAX_SERIES_LENGTH = 200
"""Characters of a scan's name."""
