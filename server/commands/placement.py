"""Which refinements are wanted, and where refinements, trials and batches run: on the server's machine or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptylive.engine.backend import device
from ptylive.schema import CommandError, MetadataError, ScanHeader
from ptylive.schema.errors import brief
from ptylive.server.cluster.places import default_workers, fallback_of
from ptylive.server.cluster.where import REFUSE
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.job_process import JobProcess, RunningJob, Standby
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.scan_updates import check_followable

if TYPE_CHECKING:
    from pathlib import Path

    from ptylive.application.extensions import Preset
    from ptylive.server.cluster.fallback import Fallback
    from ptylive.server.session.scan_session import ScanSession

HERE, CLUSTER = "here", "cluster"
"""Names of places in commands; the configuration determines which of them exist."""


MOST_BETWEEN = 10_000
"""Maximum number of epochs from one picture of a history to the next."""


@dataclass(frozen=True)
class Wanted:
    """A requested refinement: what it is to do, and where."""

    preset: Preset
    place: str
    history: int = 0
    """Interval in epochs at which a picture for a film is kept; 0: never."""
    beside: tuple[ScanSession, ...] = ()
    """Scans of the same place that are refined together with the scan."""

    def check_early(self, scan: ScanSession, header: ScanHeader) -> None:
        """Raise CommandError if a scan with this header cannot be refined like this while it arrives."""
        check_followable(scan, header)
        if self.place == CLUSTER:
            raise CommandError("a cluster refines complete scans only", "refine when the scan has ended")

    def check_alone(self) -> None:
        """Raise CommandError for several scans, which cannot be queued before the first one has its maps."""
        if self.beside:
            raise CommandError("the maps of this scan are not complete yet", "wait for them")


@dataclass
class Waiting:
    """A queued refinement: with its job or, until its scan has results, with what is wanted."""

    run: str
    uid: str
    series: str
    recordings: tuple[Path, ...]
    results: Path
    wanted: Wanted
    request: int
    """Number of the request (:attr:`ScanSession.requests`) that the results must satisfy."""
    job: RefineJob | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the entry shown by `status`."""
        return {"run": self.run, "uid": self.uid, "series": self.series}


@dataclass(frozen=True)
class Series:
    """Place where many jobs run. ``request``: workers, cluster, and what to do if the cluster is missing
    (:func:`ptylive.server.cluster.places.places`).
    """

    request: tuple[int | None, str | None, str]
    words: str


class AllowedPlaces:
    """The places that the operator of a server allows, with the default place first.

    Raises MetadataError for a configuration without any place, and for an invalid cluster.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._cluster: Fallback | None = None
        self._standby = Standby()
        if config.refine_cluster is not None:
            when, threads = config.refine_when_cluster_missing, config.refine_threads
            self._cluster = fallback_of(config.refine_cluster, when, JobProcess, threads, 1)
        elif not config.refine_here:
            raise MetadataError(
                "refinements may not run on this machine, and no cluster is set", "set a cluster under [refine] too"
            )
        elif (when := config.refine_when_cluster_missing) != REFUSE:
            problem = f"when_cluster_missing = {when} under [refine] has no effect without a cluster"
            raise MetadataError(problem, "set a cluster there too, or leave it out")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the places that may be requested."""
        cluster = () if self._cluster is None else (CLUSTER,)
        return (*cluster, HERE) if self._config.refine_here else cluster

    def to_plain(self) -> list[dict[str, str]]:
        """Return the places as shown by `status`."""
        words = {HERE: "this machine"}
        if self._cluster is not None:
            words[CLUSTER] = f"cluster {self._cluster.cluster.words}"
        return [{"name": name, "words": words[name]} for name in self.names]

    def checked(self, place: str, *, together: bool = False) -> str:
        """Return the place to use; for several scans ``together`` this machine. Raises CommandError if not allowed."""
        if place and place not in self.names:
            raise CommandError(f"{brief(place)} is not a place where refinements run", f"use {' or '.join(self.names)}")
        if together and (place == CLUSTER or HERE not in self.names):
            raise CommandError(
                "scans can be refined together on the server's machine only", "refine them one at a time"
            )
        return HERE if together else place or self.names[0]

    def launch(self, job: RefineJob) -> RunningJob:
        """Start a job at its place."""
        if self._cluster is not None and self.checked(job.place) == CLUSTER:
            return self._cluster.launch(job)
        return JobProcess(job, process=self._standby.take())

    def stand_by(self, header: ScanHeader) -> None:
        """Prepare a process for the next refinement of a similar scan, if it will run on this machine and on a GPU."""
        wanted = self.names[0] == HERE and self._config.backend != "cpu" and device.may_be_there()
        if wanted and header.detector.shape is not None:
            self._standby.prepare(max(header.detector.shape))

    def series(self, place: str) -> Series:
        """Return the place for many jobs run by a separate process. Raises CommandError like :meth:`checked`."""
        if self._cluster is not None and self.checked(place) == CLUSTER:
            request = (None, self._config.refine_cluster, self._cluster.when)
            return Series(request, f"cluster {self._cluster.cluster.words}")
        self.checked(place)
        config = self._config
        most = config.refine_workers or max(1, default_workers(config.backend, config.refine_threads) // 2)
        return Series((most, None, REFUSE), "this machine")

    def close(self) -> None:
        """End what was started for the cluster, and the standby process."""
        self._standby.close()
        if self._cluster is not None:
            self._cluster.close()


def check_history(history: int, place: str) -> None:
    """Raise CommandError for an invalid number of epochs, and for places where no history is kept."""
    if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= MOST_BETWEEN:
        raise CommandError(
            f"history must be a whole number from 0 to {MOST_BETWEEN}", "give the number of epochs between pictures"
        )
    if history and place == CLUSTER:
        raise CommandError("a history can be stored on the server's machine only", "refine there, or without history")
