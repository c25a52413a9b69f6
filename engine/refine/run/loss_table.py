"""The loss log as a CSV file, rewritten completely after each epoch so that any program can read it at any time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ptylive.engine.refine.run.log import Log
from ptylive.schema.files.atomic import replacing

COLUMNS = ("epoch", "phase", "loss", "seconds")


def write_loss_table(path: Path, log: Log, earlier: Sequence[Log] | None = None) -> None:
    """Write one line per epoch; ``earlier``: logs of the preceding stages, which adds a column for the stage."""
    columns = COLUMNS if earlier is None else (*COLUMNS, "stage")
    rows = [
        (phase, repr(loss), f"{seconds:.4f}", stage)
        for stage, stage_log in enumerate((*(earlier or ()), log), 1)
        for phase, loss, seconds in zip(stage_log.phases, stage_log.losses, stage_log.seconds, strict=True)
    ]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows((epoch, *row)[: len(columns)] for epoch, row in enumerate(rows, 1))
