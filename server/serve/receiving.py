"""Settings of a server's receiver, from the server's configuration."""

from __future__ import annotations

from collections.abc import Callable

from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import parse_basis
from ptylive.schema import ScanHeader
from ptylive.server.process.config import ServerConfig
from ptylive.streamer.detector_arrays import read_detector_arrays
from ptylive.streamer.patience import Patience
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.receiver import ReceiverSettings
from ptylive.streamer.sockets.security import ServerKeys

Prepare = Callable[[ScanHeader], ScanHeader]
"""Function that completes a header from the configuration, which supplies what DECTRIS streams do not carry."""


def receiver_settings(
    config: ServerConfig, keys: ServerKeys | None, prepare: Prepare, log: Callable[[str, str], None]
) -> ReceiverSettings:
    """Return the receiver's settings. Raises PtyliveError for an invalid basis or detector image."""
    return ReceiverSettings(
        data=config.data,
        folder=config.recording_folder,
        patience=Patience(config.idle_timeout_s),
        keys=keys,
        protocol=ProtocolSettings(config.protocol, prepare, config.verify_hashes, config.channel),
        compression=_compression(config, prepare, log),
        detector_arrays=read_detector_arrays(config.detector_files),
        distortion=config.distortion,
    )


def _compression(config: ServerConfig, prepare: Prepare, log: Callable[[str, str], None]) -> StreamCompression | None:
    """Return the converter of frames to coefficients before recording; None if not wanted."""
    choice = parse_basis(config.basis)
    if choice.is_raw or config.keep_frames or config.recording_folder is None:
        return None
    return StreamCompression(choice, prepare, log)
