"""``ptylive refine --cluster --workers``: one run shared by the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ptylive.application.extensions import Preset
from ptylive.schema import MetadataError
from ptylive.server.cluster.where import MOST_WORKERS

if TYPE_CHECKING:
    from ptylive.engine.refine.run.run import Sharing

Workers = Annotated[
    int | None, typer.Option(min=1, max=MOST_WORKERS, help="number of cluster workers that share this one refinement")
]


@contextmanager
def shared_by(
    workers: int | None, cluster: str | None, preset: Preset, backend: str, threads: int, tell: Callable[[str], None]
) -> Iterator[Sharing | None]:
    """Yield workers that refine together until the end of the block; None if the run stays on this machine.

    Raises MetadataError if no cluster is given; RefinementError, before the cluster is contacted, for settings that
    tiles do not support; and PtyliveError if the cluster cannot be reached.
    """
    if workers is None:
        yield None
        return
    if cluster is None:
        raise MetadataError("--workers needs a cluster", f"choose one, for example --cluster local:{workers}")
    from ptylive.engine.refine.tiles.possible import check_possible
    from ptylive.engine.refine.tiles.shared_run import Shared
    from ptylive.server.cluster.opening import opened
    from ptylive.server.cluster.tile_crew import ClusterWorkers

    check_possible(preset)
    with opened(cluster, threads, tell) as opened_cluster:
        yield Shared(ClusterWorkers(opened_cluster, workers, backend))
