"""Where refinements run besides this machine, as written by users: ``local:4``, ``tcp://scheduler:8786``, ``slurm``, or
a TOML file with the options of dask-jobqueue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptylive.schema import InputFileError, MetadataError, PtyliveError
from ptylive.schema.errors import brief
from ptylive.schema.files.small_files import read_text
from ptylive.schema.settings_text import MAX_TOML, as_table, read_toml

LOCAL = "local"
QUEUES: Mapping[str, str] = MappingProxyType(
    {
        "slurm": "SLURMCluster",
        "pbs": "PBSCluster",
        "lsf": "LSFCluster",
        "sge": "SGECluster",
        "oar": "OARCluster",
        "moab": "MoabCluster",
        "htcondor": "HTCondorCluster",
    }
)
"""Batch systems, and their classes in dask-jobqueue."""
SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
WAIT, HERE, REFUSE = "wait", "here", "refuse"
WAYS = (REFUSE, WAIT, HERE)
"""What to do with jobs while the cluster is missing."""
MOST_WORKERS = 1024
"""Most workers of a cluster, or processes of this machine, that may be requested."""
HINT = f"write local:4, tcp://SCHEDULER:8786, {', '.join(QUEUES)}, or the name of a TOML file with a table [cluster]"


class ClusterMissing(PtyliveError):
    """Raised if no scheduler answers or no worker exists; neither the job nor the request is at fault."""


@dataclass(frozen=True)
class Where:
    """Location of a cluster. kind: ``local``, ``scheduler``, or a batch system; options: of its dask-jobqueue class."""

    kind: str
    address: str = ""
    """Address of the scheduler."""
    workers: int = 1
    """Number of processes on this machine, or of jobs requested from a batch system."""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Description for people."""
        return {LOCAL: "this machine", "scheduler": self.address}.get(self.kind, self.kind)


@dataclass(frozen=True)
class WorkersAsked:
    """Where a user wants jobs to run: on workers of this machine, or of a cluster."""

    number: int | None = None
    """Number of processes on this machine; None: as many as suit it."""
    cluster: str | None = None
    """A cluster, as :func:`parse_where` reads it, instead of this machine."""
    when_missing: str = REFUSE
    """What to do while the cluster is missing: one of ``WAYS``."""


def check_way(when: str, cluster: str | None, *, shared: bool = False) -> None:
    """Raise MetadataError for an unknown way to go on without a cluster, and for one that would have no effect.

    ``shared``: workers of the cluster share one refinement, which cannot go on without them.
    """
    if when not in WAYS:
        raise MetadataError(f"{when!r} is not a known way to go on without a cluster", f"use {', '.join(WAYS)}")
    if when != REFUSE and cluster is None:
        raise MetadataError(f"--when-cluster-missing {when} has no effect without --cluster", "leave it out")
    if when != REFUSE and shared:
        raise MetadataError(f"--when-cluster-missing {when} has no effect with --workers", "leave out one of them")


def parse_where(text: str) -> Where:
    """Parse the location of a cluster. Raises MetadataError for an invalid one, or for an invalid TOML file."""
    kind, colon, number = text.partition(":")
    if kind == LOCAL:
        return Where(LOCAL, workers=_number(number, text) if colon else 1)
    if text.startswith(SCHEMES):
        return Where("scheduler", address=text)
    if kind in QUEUES:
        return Where(kind, workers=_number(number, text) if colon else 1)
    if Path(text).suffix == ".toml":
        return _of_file(Path(text))
    raise MetadataError(f"{brief(text)} is not a cluster", HINT)


def _number(text: str, whole: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST_WORKERS):
        raise MetadataError(f"{brief(whole)}: {brief(text)} is not a number of workers from 1 to {MOST_WORKERS}", HINT)
    return int(text)


def _of_file(path: Path) -> Where:
    """Read the table [cluster]: kind, jobs (or workers), address; everything else is an option of dask-jobqueue."""
    try:
        tables = read_toml(read_text(path, MAX_TOML), str(path))
    except InputFileError as error:
        raise MetadataError(str(error), "check --cluster") from None
    values = dict(as_table(tables.get("cluster", {}), "cluster"))
    kind = str(values.pop("kind", "scheduler" if "address" in values else ""))
    address = str(values.pop("address", ""))
    number = str(values.pop("jobs", values.pop("workers", 1)))
    if kind == "scheduler" and address.startswith(SCHEMES):
        found = Where("scheduler", address=address)
    elif kind == LOCAL:
        found = Where(LOCAL, workers=_number(number, f"{path}: {number}"))
    elif kind in QUEUES and not address:
        return Where(kind, "", _number(number, f"{path}: {number}"), values)
    else:
        raise MetadataError(
            f"{path}: [cluster] kind {brief(kind)} is not valid", f"use one of local, {', '.join(QUEUES)}"
        )
    if values:
        raise MetadataError(f"{path}: [cluster] {next(iter(values))} has no meaning for kind {kind!r}", "leave it out")
    return found
