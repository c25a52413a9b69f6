"""Configuration of a server: built-in values < TOML file < command line."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, field_validator, model_validator

from ptylive.engine.backend.imaging.open import LEAST_BATCH_BYTES
from ptylive.schema.detector import GIVEN_ARRAYS, Detector
from ptylive.schema.model import StrictModel
from ptylive.server.process.ports import DASHBOARD_PORT, DEFAULT_CONTROL, DEFAULT_DATA, EVENTS_OFFSET
from ptylive.server.process.security import Security, in_home
from ptylive.streamer.protocols.inlet import ProtocolName

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_INTERFACE = "0.0.0.0"  # noqa: S104


class ServerConfig(StrictModel):
    """All settings of `ptylive serve`. Addresses are restricted to loopback until keys are configured."""

    data: str = Field(
        default=DEFAULT_DATA,
        description="where frames arrive: address to bind, or of the detector to connect to",
    )
    protocol: ProtocolName = Field(default="native", description="protocol of the sender")
    channel: str = Field(
        default="", description="threshold channel of a stream2 detector that has several; empty: the first"
    )
    verify_hashes: bool = Field(default=False, description="compare the md5 of every DECTRIS v1 image")
    detector_api: str | None = Field(
        default=None, description="SIMPLON address, or Merlin's control port (tcp://HOST:6341), to arm it from here"
    )
    basis: str = Field(
        default="pixels", description="detector basis to which frames are compressed before they are recorded"
    )
    keep_frames: bool = Field(default=False, description="record frames as well, with the coefficients next to them")
    control: str = Field(
        default=DEFAULT_CONTROL, description="where commands are received; events are published one port below"
    )
    metrics: str | None = Field(
        default="", description="where Prometheus finds metrics; empty: 127.0.0.1:9996 if free; none: off"
    )
    dashboard: str | None = Field(
        default=f"127.0.0.1:{DASHBOARD_PORT}", description="where the dashboard is served; none: headless"
    )
    prefix: str = Field(default="", description="path under which a proxy serves the dashboard, like /ptylive")
    record: str | None = Field(default="", description="recording folder; empty: the user's data folder; none: off")
    watch: str | None = Field(
        default=None, description="folder into which other programs write scans; each is loaded once"
    )
    files: str | None = Field(default=None, description="folder whose scan files may be opened from the dashboard")
    upload_limit_GB: float = Field(
        default=20.0, ge=0, le=1e5, description="largest file that browsers may send into the folder of files; 0: none"
    )
    watch_settle_s: float = Field(
        default=5.0,
        ge=0.5,
        le=3600,
        description="a watched file counts as finished when it has not changed for this long",
    )
    notify: str | None = Field(
        default=None, description="http address that is notified when a scan or refinement has ended"
    )
    drift_bound_A: float | None = Field(
        default=None,
        gt=0,
        description="drift between scans of one place that triggers a notice; none: a tenth of the field",
    )
    security: Security = Field(default_factory=Security, description="keys")
    idle_timeout_s: float = Field(default=5.0, gt=0, description="silence after which a scan counts as aborted")
    refine_threads: int = Field(default=1, ge=1, le=256, description="threads of a refinement")
    refine_cluster: str | None = Field(
        default=None, description="Dask cluster on which refinements run (docs/batch.md); none: this machine"
    )
    refine_when_cluster_missing: Literal["refuse", "wait", "here"] = Field(
        default="refuse",
        description="what a refinement does while its cluster is missing; here: runs on this machine",
    )
    refine_here: bool = Field(
        default=True, description="whether refinements may also run on this machine if there is a cluster"
    )
    refine_workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="trials, or scans of a batch, at a time on this machine; none: half of the cores, or one GPU",
    )
    refine_held_out: bool = Field(
        default=True,
        description="report after a refinement how well its settings predict held-out patterns, to compare runs",
    )
    refine_during_scan: bool = Field(
        default=False, description="refine every scan, starting with the rows that have arrived"
    )
    backend: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="where refinements run and live maps are computed; auto: on a GPU if there is one"
    )
    gpu_batch_bytes: int = Field(
        default=LEAST_BATCH_BYTES,
        ge=0,
        description="size of a batch of frames, in bytes, from which it is reduced on a GPU",
    )
    refine: dict[str, Any] = Field(default_factory=dict, description="preset of refinements (docs/refinement.md)")
    defaults: dict[str, Any] = Field(default_factory=dict, description="metadata used if the stream does not give them")
    overrides: dict[str, Any] = Field(default_factory=dict, description="metadata that override the stream")
    maps: dict[str, Any] = Field(default_factory=dict, description="settings of live maps, METHOD.NAME (docs/maps.md)")
    detector_files: dict[str, str] = Field(
        default_factory=dict,
        description=f"images of the detector as files: {', '.join(GIVEN_ARRAYS)}",
    )

    distortion: tuple[float, ...] | None = Field(
        default=None, description="distortion of every pattern (docs/files.md)"
    )
    virtual_detectors: dict[str, str] = Field(
        default_factory=dict, description="virtual detectors of every scan, NAME = WHAT (docs/maps.md)"
    )

    @field_validator("distortion", mode="before")
    @classmethod
    def _known_distortion(cls, value: Any) -> Any:
        if isinstance(value, str):
            from ptylive.application.analysis.distortion_files import distortion_of_text

            value = distortion_of_text(value)
        return None if value is None else Detector(distortion=value).distortion

    @field_validator("detector_files", mode="before")
    @classmethod
    def _offset_as_text(cls, value: Any) -> Any:
        """Accept an offset that is the same in all pixels as a number of TOML."""
        offset = value.get("dark_reference") if isinstance(value, dict) else None
        is_number = isinstance(offset, int | float) and not isinstance(offset, bool)
        return {**value, "dark_reference": str(offset)} if is_number else value

    @field_validator("detector_files")
    @classmethod
    def _known_images(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in GIVEN_ARRAYS:
                raise ValueError(f"{name} is not one of {', '.join(GIVEN_ARRAYS)}")
        return value

    @field_validator("record", "watch", "files")
    @classmethod
    def _of_a_home(cls, value: str | None) -> str | None:
        """Expand ~ to the home folder, as a shell does but a file does not."""
        return value if value is None else in_home(value)

    @field_validator("data", "control")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("tcp", "ipc") or (parts.scheme == "tcp" and (parts.port is None or parts.path)):
            raise ValueError(f"{value!r} is not an address like {DEFAULT_DATA}")
        if parts.hostname == "*":
            raise ValueError(f"{value!r}: write 0.0.0.0 to listen on every interface")
        return value

    @model_validator(mode="after")
    def _loopback_without_keys(self) -> Self:
        """Restrict bound addresses to loopback without keys; the address of a detector is not bound."""
        bound = (self.data, self.control) if self.protocol == "native" else (self.control,)
        for address in bound:
            parts = urlsplit(address)
            if self.key_folder is None and parts.scheme == "tcp" and parts.hostname not in LOOPBACK:
                raise ValueError(
                    f"{address!r} is not on this machine: without keys (security.keys) ptylive listens on loopback only"
                )
        return self

    @model_validator(mode="after")
    def _control_port_of_its_detector(self) -> Self:
        """Refuse a Merlin control port for other detectors; the form of the address shows which kind it is."""
        if self.detector_api is not None and self.detector_api.startswith("tcp:") and self.protocol != "merlin":
            raise ValueError(f"{self.detector_api!r} is the control port of a Merlin detector: give --protocol merlin")
        return self

    @field_validator("dashboard", "metrics")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if not value:
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{value!r} is not an address like 127.0.0.1:{DASHBOARD_PORT}")
        return value

    @field_validator("notify")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError(f"{value!r} is not an address like https://chat.example/hooks/1")
        return value

    @field_validator("prefix")
    @classmethod
    def _path(cls, value: str) -> str:
        if re.fullmatch(r"(/?[A-Za-z0-9_.~-]+)*/?", value) is None or ".." in value:
            raise ValueError(f"{value!r} is not a path like /ptylive")
        return "".join(f"/{part}" for part in value.split("/") if part)

    @model_validator(mode="after")
    def _web_on_loopback(self) -> Self:
        """Keep metrics on this machine, and the dashboard too unless it is behind a token."""
        for value, may_leave in ((self.metrics, False), (self.dashboard, self.security.token)):
            if value and not may_leave and value.rpartition(":")[0] not in LOOPBACK:
                hint = "" if value is self.metrics else "; others may see the dashboard with --token"
                raise ValueError(f"{value!r} is not a loopback address like 127.0.0.1:{DASHBOARD_PORT}{hint}")
        return self

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        """Refuse sockets of one server that use the same port of one address; port 0 is any free port."""
        host, control = _host_and_port(self.control)
        wanted = {
            "data": _host_and_port(self.data) if self.protocol == "native" else ("", 0),
            "control": (host, control),
            "events (one port below control)": (host, max(control + EVENTS_OFFSET, 0)),
            "dashboard": _host_and_port(self.dashboard),
            "metrics": _host_and_port(self.metrics),
        }
        for (first, (host, port)), (second, (its_host, its_port)) in itertools.combinations(wanted.items(), 2):
            same_host = host == its_host or EVERY_INTERFACE in (host, its_host)
            if port and port == its_port and same_host:
                raise ValueError(f"{first} and {second} both use port {port}: give one of them another port")
        return self

    @model_validator(mode="after")
    def _channel_of_its_detector(self) -> Self:
        """Refuse a channel for other protocols, which do not send several thresholds and would silently ignore it."""
        if self.channel and self.protocol != "dectris-v2":
            raise ValueError(f"channel {self.channel!r} is a threshold of protocol dectris-v2, not of {self.protocol}")
        return self

    @model_validator(mode="after")
    def _check_watched_folder(self) -> Self:
        """Keep the watched folder apart from recordings, which would otherwise be taken up again and again, and require
        the native protocol, the only one with several senders.
        """
        if self.watch is None:
            return self
        if self.protocol != "native":
            raise ValueError(f"watch needs protocol native, not {self.protocol}: start a second server for the folder")
        watched, recorded = Path(os.path.realpath(self.watch)), self.recording_folder  # circular links: reported later
        folder = None if recorded is None else Path(os.path.realpath(recorded))
        if folder is not None and (folder == watched or watched in folder.parents or folder in watched.parents):
            raise ValueError(f"watch {self.watch!r}: the recording folder {str(recorded)!r} must lie elsewhere")
        return self

    @property
    def watched_folder(self) -> Path | None:
        """Folder whose files are taken up, or None."""
        return None if self.watch is None else Path(self.watch)

    @property
    def open_folder(self) -> Path | None:
        """Folder whose files may be opened, or None."""
        return None if self.files is None else Path(self.files)

    @property
    def key_folder(self) -> Path | None:
        """Folder of the keys, or None if nothing is encrypted."""
        return None if self.security.keys is None else Path(self.security.keys)

    @property
    def recording_folder(self) -> Path | None:
        """Folder for recordings, or None if nothing is recorded."""
        if self.record is None:
            return None
        return Path(self.record) if self.record else Path(platformdirs.user_data_dir("ptylive")) / "recordings"


def _host_and_port(address: str | None) -> tuple[str, int]:
    """Return host and port of ``tcp://HOST:PORT`` or HOST:PORT, with port 0 if there is none. All names of loopback are
    mapped to one, and all names of every interface to another.
    """
    if not address or address.startswith("ipc:"):
        return "", 0
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    host = host.strip("[]").lower()
    return LOOPBACK[0] if host in LOOPBACK else EVERY_INTERFACE if host == "::" else host, int(port)
