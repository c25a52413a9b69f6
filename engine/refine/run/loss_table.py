"""The loss log as a CSV file, rewritten whole after each epoch: readable at any moment, by anything."""

from __future__ import annotations

import csv
from pathlib import Path

from ptylive.engine.refine.run.log import Log
from ptylive.schema.files.atomic import replacing

COLUMNS = ("epoch", "phase", "loss", "seconds")


def write_loss_table(path: Path, log: Log) -> None:
    """Write one line an epoch."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for epoch, (phase, loss, seconds) in enumerate(zip(log.phases, log.losses, log.seconds, strict=True), 1):
            writer.writerow([epoch, phase, repr(loss), f"{seconds:.4f}"])
