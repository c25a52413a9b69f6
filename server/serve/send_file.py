"""``python -m ptylive.server.serve.send_file SETTINGS_JSON``: send one scan file to the server that started this.

Prints one JSON line: how many frames were sent, or why they were not and whether the file is at fault. In a separate
process, a file that crashes its reader does no other harm; the process ends with its parent.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ptylive.schema import InputFileError, MetadataError, PtyliveError
from ptylive.schema.model import StrictModel
from ptylive.schema.plain_errors import tell_parent
from ptylive.server.process.parent_watch import exit_with_parent
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.vetting.whole_file import vet


class SendSettings(StrictModel):
    """data: the server's data address; control: where it reports safe frames, None if nothing is recorded.

    uid, series: identity and name of the scan; keys: key folder.
    """

    file: str
    data: str
    control: str | None
    uid: str
    series: str
    keys: str | None = None


class Sent(StrictModel):
    """frames: how many were sent, 0 on failure; error: the reason; of_file: whether trying again is pointless."""

    frames: int = 0
    error: str = ""
    of_file: bool = False


def send(settings: SendSettings) -> Sent:
    """Vet the file, then send it as fast as the server accepts it."""
    keys = None if settings.keys is None else Path(settings.keys)
    replay_settings = ReplaySettings(
        to=settings.data, control=settings.control, uid=settings.uid, series=settings.series, keys=keys
    )
    try:
        vet(Path(settings.file))
        return Sent(frames=replay(Path(settings.file), replay_settings).frames)
    except (InputFileError, MetadataError) as error:
        return Sent(error=error.line(), of_file=True)
    except PtyliveError as error:
        return Sent(error=error.line())


def main(arguments: list[str]) -> int:
    """Send the file and report the outcome."""
    exit_with_parent()
    sent = send(SendSettings.model_validate_json(arguments[0]))
    tell_parent(sent.model_dump_json())
    return 1 if sent.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
