"""The library: past scans as cards, to be opened again; and the note of the scan that is shown."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import CalibrationEntry
from ptylive.dashboard.readouts import quantity
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import count, file_name, file_size
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.snapshot import draw, png
from ptylive.server.wire.messages import array_from_plain

ASK_EVERY_S = 5.0
PAGE = 24
MOST_TYPED = 200
CARD_VALUES = (("rotation_deg", "rotation", "°"), ("C10", "defocus", ""))


class LibraryPanel:
    """Asks for the history while it is looked at."""

    def __init__(
        self,
        orders: Orders,
        on_open: Callable[[], None],
        on_refine: Callable[[], None],
        on_demo: Callable[[], None] = lambda: None,
    ) -> None:
        self._orders, self._on_open, self._on_refine, self._on_demo = orders, on_open, on_refine, on_demo
        self._cards: list[dict[str, Any]] = []
        self._text = ""
        self._asked_at = -ASK_EVERY_S
        self._files: dict[str, Any] | None = None
        self._match = ""
        self._search: dict[str, Any] = {}
        self._offset = self._count = 0
        self._deleted = ""
        """The recording that this page has moved to the trash last."""
        self._note, self._note_of, self._note_asked_at = "", "", -ASK_EVERY_S
        self._sent: dict[str, Any] | None = None
        """What was sent with the scan whose metadata are on show."""
        self._thumbnails: dict[tuple[bytes, str, ColourMap], str] = {}
        self._kinds = MapKinds()

    def follow(self, view: FeedView, *, on_show: bool) -> None:
        """Ask for the note of a scan that is new here, and every few seconds for the history while it is on show."""
        if not view.connected:
            return
        self._kinds = view.kinds
        recording = view.state.recording or ""
        if recording != self._note_of:
            self._note_of, self._note, self._note_asked_at = recording, "", -ASK_EVERY_S
        if recording and time.monotonic() - self._note_asked_at > ASK_EVERY_S:
            self._note_asked_at = time.monotonic()
            self._orders.ask("note", self._take_note)
        if on_show and time.monotonic() - self._asked_at > ASK_EVERY_S:
            self._asked_at = time.monotonic()
            self._orders.ask("history", self._take_history, limit=PAGE, offset=self._offset, **self._search)
            self._orders.ask("files", self._take_files, on_refusal=self._no_files, match=self._match)

    def _take_files(self, reply: Reply) -> None:
        files, most = list(reply["files"]), int(reply["count"])
        self._files = {
            "folder": str(reply["folder"]),
            "said": f"{count(most)} scan file{'' if most == 1 else 's'}, the newest first",
            "files": [{"name": str(file["name"]), "text": _file_text(file)} for file in files],
        }

    def _no_files(self, _reason: str) -> None:
        self._files = None

    def match_files(self, request: Request) -> None:
        """List files whose names have this in them."""
        self._match, self._asked_at = request.value, -ASK_EVERY_S

    def search(self, request: Request) -> None:
        """List scans with these words, refined ones, of these days; or the older or newer ones of the list."""
        name, value = request.key, request.value
        if name in ("older", "newer"):
            self._offset = max(0, self._offset + (PAGE if name == "older" else -PAGE))
            self._offset = min(self._offset, PAGE * ((max(self._count, 1) - 1) // PAGE))
        elif name == "refined":
            self._narrow({**self._search, "refined": value == "on"})
        elif name in ("match", "since", "until"):
            self._narrow({**self._search, name: value[:MOST_TYPED]})
        self._asked_at = -ASK_EVERY_S

    def _narrow(self, search: dict[str, Any]) -> None:
        self._search = {name: value for name, value in search.items() if value}
        self._offset = 0

    def take(self, request: Request) -> None:
        """Have a file of another program sent as a scan; with the key `sent` the one of some that were just brought."""
        if request.key == "sent":
            names = request.value.split("\n")
            self._asked_at = -ASK_EVERY_S
            self._orders.ask("files", lambda reply: self._take_sent(names, reply), on_refusal=self._orders.say)
            return
        name = request.value
        self._orders.send("take", f"opening {name}", lambda _reply: self._on_open(), file=name)

    def _take_sent(self, names: list[str], reply: Reply) -> None:
        """Of several that belong together one stands for the scan, and is listed."""
        listed = [str(file["name"]) for file in reply["files"]]
        scans = [one for one in listed if one.rpartition("/")[2] in names]
        if not scans:
            self._orders.say(f"{', '.join(names)}: a file that belongs to it is missing; upload both at once")
            return
        for name in scans[:1]:
            self._orders.send("take", f"opening {name}", lambda _reply: self._on_open(), file=name)

    def _take_note(self, reply: Reply) -> None:
        self._note = str(reply.get("note", ""))

    def _take_history(self, reply: Reply) -> None:
        scans = [scan for scan in reply.get("scans", []) if isinstance(scan, Mapping)]
        self._cards = [self._card(scan) for scan in scans]
        self._count = int(reply.get("count") or len(scans))
        self._text = _how_many(self._count, int(reply.get("total") or self._count), int(reply.get("pending") or 0))
        self._offset = min(self._offset, PAGE * ((max(self._count, 1) - 1) // PAGE))
        for scan in scans:
            if scan.get("recording") == file_name(self._note_of):
                self._note = str(scan.get("note") or "")

    def _card(self, scan: Mapping[str, Any]) -> dict[str, Any]:
        if scan.get("problem"):
            return {"recording": str(scan.get("recording")), "title": str(scan["problem"]), "lines": [], "note": ""}
        shape, lost = scan.get("shape") or [], int(scan.get("lost") or 0)
        values = [
            f"{label} {quantity(name, CalibrationEntry.model_validate(entry), unit)}".replace(
                "defocus in focus", "in focus"
            )
            for name, label, unit in CARD_VALUES
            if (entry := (scan.get("calibration") or {}).get(name))
        ]
        frames = f"{' × '.join(map(str, shape))} · {count(scan.get('frames'))} frames"
        problem = str(scan.get("results_problem") or "")
        return {
            "recording": str(scan.get("recording")),
            "title": str(scan.get("series")),
            "time": datetime.fromtimestamp(float(scan.get("time") or 0)).strftime("%Y-%m-%d %H:%M"),
            "lines": [frames, " · ".join(values), problem or _runs(scan.get("runs") or {})],
            "lost": f"{count(lost)} lost" if lost else "",
            "day": datetime.fromtimestamp(float(scan.get("time") or 0)).strftime("%A, %Y-%m-%d"),
            "note": str(scan.get("note") or ""),
            "sample": str(scan.get("sample") or ""),
            "noted": _noted(scan),
            "refined": bool(scan.get("runs")),
            "picture": self._map_of(scan),
            "object": self._object_of(scan),
        }

    def _map_of(self, scan: Mapping[str, Any]) -> str:
        """The small picture of a map as a data address."""
        plain = scan.get("thumbnail")
        return self._drawn(plain, self._kinds.called(str(plain.get("map"))).colour_map) if plain else ""

    def _object_of(self, scan: Mapping[str, Any]) -> str:
        """That of the phase of the last refinement."""
        plain = scan.get("object")
        return self._drawn(plain, ColourMap.MAGMA) if plain else ""

    def _drawn(self, plain: Mapping[str, Any], colours: ColourMap) -> str:
        """Shades as a data address; drawn once."""
        key = (bytes(plain["data"]), str((plain.get("shape"), plain.get("sampling_A"))), colours)
        if key not in self._thumbnails:
            shades, steps = array_from_plain(plain).astype(np.float32), plain.get("sampling_A")
            picture = draw(
                shades,
                colours,
                limits=(0.0, 255.0),
                sampling_A=None if steps is None else (float(steps[0]), float(steps[1])),
                least_side=1,
                scale_bar=False,
            )
            if len(self._thumbnails) > 8 * PAGE:
                self._thumbnails.clear()
            self._thumbnails[key] = "data:image/png;base64," + base64.b64encode(png(picture)).decode()
        return self._thumbnails[key]

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Who takes which request."""
        return {
            "open": self.open,
            "replay": self.replay,
            "delete": self.delete,
            "restore": self.restore,
            "note": self.note,
            "search": self.search,
            "files": self.match_files,
            "take": self.take,
            "metadata": self.metadata,
        }

    def open(self, request: Request) -> None:
        """Show a past scan; without a name, the newest live one. With the key `refine` go on to the Refine view."""
        done = "opened" if request.name else "showing the newest scan"
        go_on = self._on_refine if request.key == "refine" else self._on_open
        self.open_then(request.name, done, go_on)

    def open_then(self, recording: str, done: str, go_on: Callable[[], None]) -> None:
        """Show a past scan, say so, and go on."""
        self._orders.send("open", done, lambda _reply: go_on(), recording=recording)

    def metadata(self, request: Request) -> None:
        """Show what was sent with a scan; without a name, no longer."""
        self._sent = None
        if request.name:
            self._orders.ask("metadata", self._take_metadata, on_refusal=self._orders.say, recording=request.name)

    def _take_metadata(self, reply: Reply) -> None:
        entries = [one for one in reply.get("entries", []) if isinstance(one, Mapping)]
        left_out = int(reply.get("left_out") or 0)
        self._sent = {
            "recording": str(reply.get("recording")),
            "entries": [{"name": str(one.get("name")), "value": str(one.get("value"))} for one in entries],
            "said": f"{count(left_out)} more are not listed: see the file" if left_out else "",
        }

    def replay(self, request: Request) -> None:
        """Send a past scan again; with the key `demo` the one that comes with the program."""
        which = {"demo": True} if request.key == "demo" else {"recording": request.name}
        if request.key == "demo":
            self._on_demo()
        self._orders.send("replay", "replay started", lambda _reply: self._on_open(), **which)

    def delete(self, request: Request) -> None:
        """Move a scan to the trash; the page has asked twice."""
        self._asked_at = -ASK_EVERY_S
        deleted = lambda _reply: setattr(self, "_deleted", request.name)  # noqa: E731
        self._orders.send("delete", "moved to the trash", deleted, recording=request.name, sure=True)

    def restore(self, _request: Request) -> None:
        """Take back what this page has moved to the trash last."""
        if self._deleted:
            self._asked_at = -ASK_EVERY_S
            back = lambda _reply: setattr(self, "_deleted", "")  # noqa: E731
            self._orders.send("restore", "restored from the trash", back, recording=self._deleted)

    def note(self, request: Request) -> None:
        """Write the note of a scan (of the one that is shown where none is named), or with the key `sample` that."""
        if request.key == "sample":
            self._asked_at = -ASK_EVERY_S
            self._orders.send("note", "sample saved", sample=request.value, recording=request.name)
            return
        if not request.name:
            self._note = request.value
        self._asked_at = -ASK_EVERY_S
        self._orders.send("note", "note saved", text=request.value, recording=request.name)

    def texts(self) -> dict[str, str]:
        """How many there are, and which of them are listed."""
        last = min(self._offset + PAGE, self._count)
        page = f"{count(self._offset + 1)} to {count(last)}" if self._count > PAGE else ""
        return {"library_count": self._text, "library_page": page}

    def marks(self) -> dict[str, str]:
        """Whether there are older and newer scans than those that are listed, and one to be taken back."""
        older = "on" if self._offset + PAGE < self._count else "off"
        undo = "on" if self._deleted else "off"
        return {"older": older, "newer": "on" if self._offset else "off", "restore": undo}

    def lists(self) -> dict[str, Any]:
        """The note of the scan that is shown."""
        return {"note": self._note}

    def cards(self) -> str:
        """Scans and files as JSON, and what was sent with one of them."""
        listed = {"scans": self._cards, "files": self._files, "sent": self._sent}
        return json.dumps(listed, ensure_ascii=False)


def _how_many(found: int, total: int, pending: int) -> str:
    """How many scans there are, and how many of them are wanted."""
    if not total:
        return "no recordings yet"
    scans = f"{count(total)} scan{'' if total == 1 else 's'}"
    words = scans if found == total and not pending else f"{count(found)} of {scans}"
    return f"{words}, {count(pending)} still to be read …" if pending else words


def _noted(scan: Mapping[str, Any]) -> str:
    """Who wrote the note, and when."""
    noted, author = float(scan.get("noted") or 0), str(scan.get("author") or "")
    return "" if not noted else f"{author} {datetime.fromtimestamp(noted).strftime('%Y-%m-%d')}".strip()


def _file_text(file: Mapping[str, Any]) -> str:
    """Size and time of the last change."""
    when = datetime.fromtimestamp(float(file["time"])).strftime("%Y-%m-%d %H:%M")
    return f"{file_size(float(file['bytes']))} · {when}"


def _runs(runs: Mapping[str, Any]) -> str:
    """How often a scan was refined, and the last loss."""
    if not runs:
        return "not refined"
    return f"{len(runs)} refinement{'' if len(runs) == 1 else 's'}"
