"""The native stream's messages. Lightweight: importing it loads neither numba, cupy, bokeh nor h5py."""

from ptylive.streamer.wire.frames import FrameLayout, FramesMessage, check_size, decode_frames, events_of, runs_of
from ptylive.streamer.wire.messages import ArmMessage, EndMessage, Message, PingMessage, decode, encode

__all__ = [
    "ArmMessage",
    "EndMessage",
    "FrameLayout",
    "FramesMessage",
    "Message",
    "PingMessage",
    "check_size",
    "decode",
    "decode_frames",
    "encode",
    "events_of",
    "runs_of",
]
