"""One scan after the other: ending the present one, and looking back at an earlier one, for this viewer only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import count
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from ptylive.dashboard.client.feed import FeedView, raw_picture, surroundings_of
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.pictures import Picture, RawPicture, prepare, sources_of
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import clock

MOST_PAST_SCANS = 50
logger = logging.getLogger(__name__)


class PastScans:
    """Which of the last scans is viewed, and its pictures."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._scans: list[Mapping[str, Any]] = []
        self._listed: tuple[object, ...] = ()
        self._uid = ""
        self._state = ServerState()
        self._live = ServerState()
        self._raw: dict[str, RawPicture] = {}
        self._pictures: dict[str, Picture] = {}
        self._versions = count(1)

    @property
    def looking_back(self) -> bool:
        """Whether pictures of a past scan are displayed."""
        return bool(self._raw)

    @property
    def state(self) -> ServerState | None:
        """State of the past scan on display."""
        return self._state if self._raw else None

    def follow(self, view: FeedView) -> None:
        """Request the list of scans when it may have changed."""
        self._live = view.state
        signature = (view.state.uid, view.state.state, view.connected, self._orders.round)
        if view.connected and signature != self._listed:
            self._listed = signature
            self._orders.ask("scans", lambda reply: self._take_list(reply, view.state.uid))

    def _take_list(self, reply: Reply, present: str | None) -> None:
        listed = [scan for scan in reply.get("scans", []) if isinstance(scan, Mapping) and scan.get("uid") != present]
        self._scans = listed[:MOST_PAST_SCANS]
        if self._uid and self._uid not in (scan.get("uid") for scan in self._scans):
            self.leave()

    def choose(self, request: Request) -> None:
        """Go back by a number of scans; 0: to the present one."""
        if request.key == "open":
            self._open()
            return
        back = int(request.numbers[0]) if len(request.numbers) == 1 else 0
        if not 1 <= back <= len(self._scans):
            self.leave()
            return
        self._uid = str(self._scans[back - 1].get("uid"))
        self._orders.ask("snapshot", self._take_scan, on_refusal=lambda _: self.leave(), uid=self._uid)

    def _open(self) -> None:
        """Show the viewed scan to everybody, so that it can be worked on."""
        if not self._raw:
            return
        if recording := self._state.recording:
            done = f"{self._state.series} is now displayed for everybody"
            self._orders.send("open", done, lambda _reply: self.leave(), recording=PurePath(recording).name)
        else:
            self._orders.say("this scan was not recorded: it can be viewed only")

    def record(self, *, on: bool) -> None:
        """Switch recording of future scans on or off."""
        self._orders.send("record", f"later scans are {'' if on else 'not '}recorded", on=on)

    def end(self, _request: Request) -> None:
        """End the scan that is being received with what has arrived: its sender may be gone."""
        done = f"{self._live.series} ends with what has arrived; frames that still come continue it"
        self._orders.send("end_scan", done, uid=self._live.uid or "")

    def leave(self) -> None:
        """Show the present scan."""
        self._uid = ""
        self._raw, self._pictures = {}, {}

    def _take_scan(self, reply: Reply) -> None:
        try:
            state = ServerState.model_validate(reply["state"])
            raw = {str(plain["name"]): raw_picture(str(plain["name"]), plain) for plain in reply["maps"]}
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("a past scan could not be read: %s", error)
            return
        if state.uid == self._uid:
            self._state, self._raw, self._pictures = state, raw, {}

    def view(self, live: FeedView, wanted: Collection[str]) -> FeedView:
        """What the panels are to show: the live view, with the past scan's pictures if one is viewed."""
        if not self._raw:
            return live
        around = surroundings_of(self._state, self._raw.get("coverage"))
        for name in wanted:
            sources = [self._raw[source] for source in sources_of(name) if source in self._raw]
            if name not in self._pictures and len(sources) == len(sources_of(name)):
                self._pictures[name] = prepare(
                    sources[0], -next(self._versions), around, wanted=name, more=sources[1:]
                )  # a negative version: never equal to one of the feed's
        shown = {name: picture for name, picture in self._pictures.items() if name in wanted}
        return replace(live, pictures=MappingProxyType(shown), available=frozenset(self._raw))

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests."""
        return {"past": self.choose, "end_scan": self.end}

    def texts(self) -> dict[str, str]:
        """Which scan is viewed."""
        if not self._raw:
            return {"past": "newest"}
        scan_time = next((float(scan.get("time") or 0) for scan in self._scans if scan.get("uid") == self._uid), 0.0)
        return {"past": f"{self._state.series} {clock(scan_time)}"}

    def lists(self) -> dict[str, Any]:
        """How far one can go back, and how far this viewer has gone."""
        uids = [scan.get("uid") for scan in self._scans]
        return {"past": {"most": len(uids), "back": uids.index(self._uid) + 1 if self._uid in uids else 0}}

    def marks(self) -> dict[str, str]:
        """Whether this viewer looks back."""
        return {"past": "on" if self._raw else "off"}
