"""Scans announced before the folder's recordings are known: one of them may be theirs, so their messages wait."""

from __future__ import annotations

from ptylive.schema import ScanHeader
from ptylive.streamer.events import Announcer
from ptylive.streamer.recording.recordings import Recordings
from ptylive.streamer.tracking.held import HeldMessages
from ptylive.streamer.wire import ArmMessage, Message, PingMessage


class Undecided:
    """Uids whose messages wait in ``held`` until it is known whether an earlier run recorded their scan.

    Recordings with the series in their names are read first: a new series does not wait for the others.
    """

    def __init__(self, recordings: Recordings, announcer: Announcer, held: HeldMessages) -> None:
        self._recordings, self._announcer, self._held = recordings, announcer, held
        self._series: dict[str, str] = {}
        self._patient = True

    def begins(self, message: Message) -> bool:
        """Whether a message announces a scan that may be in a recording that has not been read."""
        header = message.header if isinstance(message, ArmMessage | PingMessage) else None
        return header is not None and self.may_be_stored(header)

    def may_be_stored(self, header: ScanHeader) -> bool:
        """Whether a scan may be in a recording that has not been read."""
        return self._patient and self._recordings.is_undecided(header.series)

    def waits(self, uid: str) -> bool:
        """Whether messages with this uid wait."""
        return uid in self._series

    def hold(self, uid: str, message: Message, source: int | None) -> bool:
        """Keep a message; False if there is no room: then nothing waits any more."""
        if uid not in self._series and isinstance(message, ArmMessage | PingMessage) and message.header is not None:
            self._series[uid] = message.header.series
            text = f"scan {message.header.series} waits until recordings of its name have been read: it may be in one"
            self._announcer.log("info", text)
        if self._held.add(message, uid, source):
            return True
        self.give_up()
        text = f"{self._recordings.folder} is still being read: a scan sent again may count as new"
        self._announcer.log("warning", text)
        return False

    def give_up(self) -> None:
        """Let nothing wait any more."""
        self._patient = False
        self._series.clear()

    def settle(self) -> None:
        """Let go of the uids for which it is known by now."""
        for uid, series in list(self._series.items()):
            if not self._recordings.is_undecided(series):
                del self._series[uid]
