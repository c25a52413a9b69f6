"""Pauses without any packet, longer than half of the period after which times of 30 bits start again (13.4 s).

Packets after such a pause are placed too early, by whole turns of 26.8 s. Edges of the trigger inputs and heartbeats
have a range of 107 s: the number of turns by which they are later than placed changes in a pause, and nowhere else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.timepix3.packets import Place, Turns, times_in_order

TURN = 2**30
"""In units of 25 ns."""
_OF_32_BITS = 4


def later(turns: Turns) -> list[tuple[int, int, int]]:
    """Find where turns are skipped: behind a word, up to another one, and how many.

    Of edges and heartbeats the more frequent kind is used, as they need not start counting together. A single value
    that differs from both neighbours is damaged.
    """
    beats = 2 * np.count_nonzero(turns.is_beat) > len(turns.is_beat)
    of_kind = turns.is_beat == beats
    where, number = turns.where[of_kind], turns.turns[of_kind]
    believed = np.flatnonzero(number[1:] == number[:-1])
    believed = np.union1d(believed, believed + 1)
    where, number = where[believed], number[believed]
    found = []
    for at in np.flatnonzero(np.diff(number)).tolist():
        found.append((int(where[at]), int(where[at + 1]), int(number[at + 1] - number[at]) % _OF_32_BITS))
    return found


def farthest(words: Array, place: Place, begin: int, stop: int) -> tuple[int, int] | None:
    """Among words ``begin`` to ``stop``, find the one whose time is farthest from the previous one: the distance (25
    ns), and its index; None where none has a time.
    """
    where, times = times_in_order(words, place)
    if not len(where):
        return None
    steps = np.abs(np.diff(times, prepend=times[0] if place.time is None else place.time))
    within = np.flatnonzero((where >= begin) & (where < stop))
    if not len(within):
        return None
    at = within[np.argmax(steps[within])]
    return int(steps[at]), int(where[at])


def passed(place: Place, turns: int) -> Place:
    """State of decoding behind a pause."""
    return place if place.time is None else replace(place, time=place.time + turns * TURN)
