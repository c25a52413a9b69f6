"""Sparse patterns for tests."""

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.events import event_parts


def sparse_frames(count: int, shape: tuple[int, int], electrons: float = 5.0, dtype: str = "<u2") -> Array:
    """Patterns (count, Qy, Qx) with a few electrons each; the second one is empty."""
    rng = np.random.default_rng(count)
    frames = rng.poisson(electrons / (shape[0] * shape[1]), (count, *shape)).astype(dtype)
    frames[1:2] = 0
    return frames


def csr(frames: Array) -> tuple[Array, Array, Array]:
    """Lengths (n,), pixels and counts (events,) of patterns (n, Qy, Qx)."""
    flat = frames.reshape(len(frames), -1)
    number, pixels = np.nonzero(flat)
    return np.bincount(number, minlength=len(flat)), pixels, flat[number, pixels]


def event_message(uid: str, first: int, frames: Array) -> FramesMessage:
    """Patterns (n, Qy, Qx) as a message encoded as ``events``."""
    return FramesMessage(uid, first, len(frames), "events", event_parts(*csr(frames)))
