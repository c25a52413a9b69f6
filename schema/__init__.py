"""Shared vocabulary of the program, typed and validated. Depends only on pydantic and numpy."""

from ptylive.schema.basis import Basis
from ptylive.schema.calibration import Calibration, Origin, Quantity
from ptylive.schema.detector import Detector
from ptylive.schema.errors import (
    CommandError,
    InputFileError,
    MetadataError,
    PtyliveError,
    RefinementError,
    ServerGoneError,
    WireError,
)
from ptylive.schema.maps import LiveMap
from ptylive.schema.optics import Optics
from ptylive.schema.scan import Scan
from ptylive.schema.scan_header import CodedFrames, EventBatch, EventFrames, FrameBatch, ScanHeader

__all__ = [
    "Basis",
    "Calibration",
    "CodedFrames",
    "CommandError",
    "Detector",
    "EventBatch",
    "EventFrames",
    "FrameBatch",
    "InputFileError",
    "LiveMap",
    "MetadataError",
    "Optics",
    "Origin",
    "PtyliveError",
    "Quantity",
    "RefinementError",
    "Scan",
    "ScanHeader",
    "ServerGoneError",
    "WireError",
]
