"""``python -m ptylive.server.batch.batch_process``: a batch in a separate process, for a server
(:mod:`ptylive.server.refinement.side_process`). It sends ``rows`` whenever one has changed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptylive.application.batch.rows import Row
from ptylive.application.extensions import Preset
from ptylive.engine.imaging.render import METHODS
from ptylive.server.batch.coordinator import Batch, BatchRequest
from ptylive.server.cluster.places import places
from ptylive.server.cluster.where import WorkersAsked
from ptylive.server.refinement.side_process import Send, run


def batch(request: Mapping[str, Any], send: Send, stop: threading.Event) -> None:
    """Process the scans of a request (:class:`ptylive.server.commands.batch_commands.BatchCommands`)."""
    wanted = BatchRequest(
        folder=Path(request["folder"]),
        preset=Preset.from_mapping(request["preset"]),
        methods=METHODS,
        values=request["values"],
        defaults=request["defaults"],
        backend=request["backend"],
        threads=int(request["threads"]),
        retry=bool(request["retry"]),
        command_line=request["command_line"],
        takes_maps=True,
        map_settings=request["map_settings"],
        detectors=request["detectors"],
    )

    def tell(words: str) -> None:
        send({"kind": "doing", "message": words})

    def show(rows: Sequence[Row]) -> None:
        send({"kind": "rows", "rows": [row.model_dump(mode="json") for row in rows]})

    with places(WorkersAsked(*request["where"]), wanted.backend, wanted.threads, tell) as (launch, number):
        scans = [Path(path) for path in request["scans"]]
        show(Batch(wanted, launch, number).run(scans, stop.is_set, show))


if __name__ == "__main__":
    sys.exit(run(batch, "the batch"))
