"""The library: past scans as cards that can be opened again, and the note of the displayed scan."""

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
from ptylive.dashboard.client.state import CalibrationEntry, ServerState
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
    """Requests the history while the library is displayed."""

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
        self._request_time = -ASK_EVERY_S
        self._files: dict[str, Any] | None = None
        self._match = ""
        self._search: dict[str, Any] = {}
        self._offset = self._count = 0
        self._deleted = ""
        """The recording that this page most recently moved to the trash."""
        self._note, self._note_recording, self._note_request_time = "", "", -ASK_EVERY_S
        self._sent_metadata: dict[str, Any] | None = None
        """Metadata sent with the scan whose metadata are displayed."""
        self._thumbnails: dict[tuple[bytes, str, ColourMap], str] = {}
        self._kinds = MapKinds()

    def follow(self, view: FeedView, viewed: ServerState, *, on_show: bool) -> None:
        """Request the note of the ``viewed`` scan, and every few seconds the history while the library is displayed."""
        if not view.connected:
            return
        self._kinds = view.kinds
        name = file_name(viewed.recording) if viewed.recording else ""
        if name != self._note_recording:
            self._note_recording, self._note, self._note_request_time = name, "", -ASK_EVERY_S
        if name and time.monotonic() - self._note_request_time > ASK_EVERY_S:
            self._note_request_time = time.monotonic()
            self._orders.ask("note", lambda reply: self._take_note(name, reply), recording=name)
        if on_show and time.monotonic() - self._request_time > ASK_EVERY_S:
            self._request_time = time.monotonic()
            self._orders.ask("history", self._take_history, limit=PAGE, offset=self._offset, **self._search)
            self._orders.ask("files", self._take_files, on_refusal=self._no_files, match=self._match)

    def _take_files(self, reply: Reply) -> None:
        files = [file for file in reply.get("files") or () if isinstance(file, Mapping)]
        most = int(reply.get("count") or len(files))
        self._files = {
            "folder": str(reply.get("folder") or ""),
            "said": f"{count(most)} scan file{'' if most == 1 else 's'}, the newest first",
            "files": [{"name": str(file.get("name")), "text": _file_text(file)} for file in files],
        }

    def _no_files(self, _reason: str) -> None:
        self._files = None

    def match_files(self, request: Request) -> None:
        """List files whose names contain this text."""
        self._match, self._request_time = request.value, -ASK_EVERY_S

    def search(self, request: Request) -> None:
        """List scans with these words, refined scans, or scans of these days; or older or newer ones of the list."""
        name, value = request.key, request.value
        if name in ("older", "newer"):
            self._offset = max(0, self._offset + (PAGE if name == "older" else -PAGE))
            self._offset = min(self._offset, PAGE * ((max(self._count, 1) - 1) // PAGE))
        elif name == "refined":
            self._narrow({**self._search, "refined": value == "on"})
        elif name in ("match", "since", "until"):
            self._narrow({**self._search, name: value[:MOST_TYPED]})
        self._request_time = -ASK_EVERY_S

    def _narrow(self, search: dict[str, Any]) -> None:
        self._search = {name: value for name, value in search.items() if value}
        self._offset = 0

    def take(self, request: Request) -> None:
        """Have a file of another program sent as a scan; with the key `sent`, the one of several uploaded files."""
        if request.key == "sent":
            names = request.value.split("\n")
            self._request_time = -ASK_EVERY_S
            self._orders.ask("files", lambda reply: self._take_sent(names, reply), on_refusal=self._orders.say)
            return
        name = request.value
        self._orders.send("take", f"opening {name}", lambda _reply: self._on_open(), file=name)

    def _take_sent(self, names: list[str], reply: Reply) -> None:
        """Open the one of several uploaded files that represents the scan: only that one is listed."""
        listed = [str(file.get("name")) for file in reply.get("files") or () if isinstance(file, Mapping)]
        scans = [listed_name for listed_name in listed if listed_name.rpartition("/")[2] in names]
        if not scans:
            self._orders.say(f"{', '.join(names)}: a file that belongs to it is missing; upload both at once")
            return
        for name in scans[:1]:
            self._orders.send("take", f"opening {name}", lambda _reply: self._on_open(), file=name)

    def _take_note(self, recording: str, reply: Reply) -> None:
        if recording == self._note_recording:
            self._note = str(reply.get("note", ""))

    def _take_history(self, reply: Reply) -> None:
        scans = [scan for scan in reply.get("scans", []) if isinstance(scan, Mapping)]
        self._cards = [self._card(scan) for scan in scans]
        self._count = int(reply.get("count") or len(scans))
        self._text = _count_text(self._count, int(reply.get("total") or self._count), int(reply.get("pending") or 0))
        self._offset = min(self._offset, PAGE * ((max(self._count, 1) - 1) // PAGE))
        for scan in scans:
            if scan.get("recording") == self._note_recording:
                self._note = str(scan.get("note") or "")

    def _card(self, scan: Mapping[str, Any]) -> dict[str, Any]:
        when = datetime.fromtimestamp(float(scan.get("time") or 0))
        common = {
            "recording": str(scan.get("recording")),
            "time": when.strftime("%Y-%m-%d %H:%M"),
            "day": when.strftime("%A, %Y-%m-%d"),
            "note": str(scan.get("note") or ""),
            "sample": str(scan.get("sample") or ""),
        }
        if scan.get("problem"):
            problem = str(scan["problem"])
            reason = problem.partition(f"{common['recording']}: ")[2] or problem
            return {**common, "title": common["recording"], "lines": [reason]}
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
            **common,
            "title": str(scan.get("series")),
            "lines": [frames, " · ".join(values), problem or _runs(scan.get("runs") or {})],
            "lost": f"{count(lost)} lost" if lost else "",
            "noted": _note_author(scan),
            "refined": bool(scan.get("runs")),
            "picture": self._map_thumbnail(scan),
            "object": self._object_thumbnail(scan),
        }

    def _map_thumbnail(self, scan: Mapping[str, Any]) -> str:
        """The thumbnail of a map as a data address."""
        plain = scan.get("thumbnail")
        colours = self._kinds.called(str(plain.get("map"))).colour_map if plain else ColourMap.GRAY
        return self._data_address(plain, colours, not_scanned=True) if plain else ""

    def _object_thumbnail(self, scan: Mapping[str, Any]) -> str:
        """The thumbnail of the phase of the last refinement, as a data address."""
        plain = scan.get("object")
        return self._data_address(plain, ColourMap.MAGMA) if plain else ""

    def _data_address(self, plain: Mapping[str, Any], colours: ColourMap, *, not_scanned: bool = False) -> str:
        """Shades as a data address; each is drawn once. ``not_scanned``: shade 0 stands for points without a frame."""
        key = (bytes(plain["data"]), str((plain.get("shape"), plain.get("sampling_A"), not_scanned)), colours)
        if key not in self._thumbnails:
            shades, steps = array_from_plain(plain).astype(np.float32), plain.get("sampling_A")
            picture = draw(
                shades,
                colours,
                visited=shades > 0 if not_scanned else None,
                limits=(1.0 if not_scanned else 0.0, 255.0),
                sampling_A=None if steps is None else (float(steps[0]), float(steps[1])),
                least_side=1,
                scale_bar=False,
            )
            if len(self._thumbnails) > 8 * PAGE:
                self._thumbnails.clear()
            self._thumbnails[key] = "data:image/png;base64," + base64.b64encode(png(picture)).decode()
        return self._thumbnails[key]

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests, by kind."""
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
        """Show a past scan; without a name, the newest live one. With the key `refine`, go on to the Refine view."""
        done = "opened" if request.name else "showing the newest scan"
        go_on = self._on_refine if request.key == "refine" else self._on_open
        self.open_then(request.name, done, go_on)

    def open_then(self, recording: str, done: str, go_on: Callable[[], None]) -> None:
        """Show a past scan, report it, and go on."""
        self._orders.send("open", done, lambda _reply: go_on(), recording=recording)

    def metadata(self, request: Request) -> None:
        """Show the metadata sent with a scan; without a name, hide them."""
        self._sent_metadata = None
        if request.name:
            self._orders.ask("metadata", self._take_metadata, on_refusal=self._orders.say, recording=request.name)

    def _take_metadata(self, reply: Reply) -> None:
        entries = [entry for entry in reply.get("entries", []) if isinstance(entry, Mapping)]
        left_out = int(reply.get("left_out") or 0)
        self._sent_metadata = {
            "recording": str(reply.get("recording")),
            "entries": [{"name": str(entry.get("name")), "value": str(entry.get("value"))} for entry in entries],
            "said": f"{count(left_out)} more are not listed: see the file" if left_out else "",
        }

    def replay(self, request: Request) -> None:
        """Send a past scan again; with the key `demo`, the scan supplied with the program."""
        source = {"demo": True} if request.key == "demo" else {"recording": request.name}
        if request.key == "demo":
            self._on_demo()
        self._orders.send("replay", "replay started", lambda _reply: self._on_open(), **source)

    def delete(self, request: Request) -> None:
        """Move a scan to the trash; the page has asked twice."""
        self._request_time = -ASK_EVERY_S
        deleted = lambda _reply: setattr(self, "_deleted", request.name)  # noqa: E731
        self._orders.send("delete", "moved to the trash", deleted, recording=request.name, sure=True)

    def restore(self, _request: Request) -> None:
        """Restore what this page most recently moved to the trash."""
        if self._deleted:
            self._request_time = -ASK_EVERY_S
            back = lambda _reply: setattr(self, "_deleted", "")  # noqa: E731
            self._orders.send("restore", "restored from the trash", back, recording=self._deleted)

    def note(self, request: Request) -> None:
        """Write the note of a scan, or with the key `sample`, the sample."""
        if request.key == "sample":
            self._request_time = -ASK_EVERY_S
            self._orders.send("note", "sample saved", sample=request.value, recording=request.name)
            return
        if request.name == self._note_recording:
            self._note = request.value
        self._request_time = -ASK_EVERY_S
        self._orders.send("note", "note saved", text=request.value, recording=request.name)

    def texts(self) -> dict[str, str]:
        """How many scans there are, and which of them are listed."""
        last = min(self._offset + PAGE, self._count)
        page = f"{count(self._offset + 1)} to {count(last)}" if self._count > PAGE else ""
        return {"library_count": self._text, "library_page": page}

    def marks(self) -> dict[str, str]:
        """Whether there are older and newer scans than the listed ones, and one that can be restored."""
        older = "on" if self._offset + PAGE < self._count else "off"
        undo = "on" if self._deleted else "off"
        return {"older": older, "newer": "on" if self._offset else "off", "restore": undo}

    def lists(self) -> dict[str, Any]:
        """The note of the viewed scan, and its recording."""
        return {"note": {"text": self._note, "of": self._note_recording}}

    def cards(self) -> str:
        """Scans and files as JSON, and the metadata sent with one of them."""
        listed = {"scans": self._cards, "files": self._files, "sent": self._sent_metadata}
        return json.dumps(listed, ensure_ascii=False)


def _count_text(found: int, total: int, pending: int) -> str:
    """How many scans there are, and how many of them match."""
    if not total:
        return "no recordings yet"
    scans = f"{count(total)} scan{'' if total == 1 else 's'}"
    words = scans if found == total and not pending else f"{count(found)} of {scans}"
    return f"{words}, {count(pending)} still to be read …" if pending else words


def _note_author(scan: Mapping[str, Any]) -> str:
    """Who wrote the note, and when."""
    noted, author = float(scan.get("noted") or 0), str(scan.get("author") or "")
    return "" if not noted else f"{author} {datetime.fromtimestamp(noted).strftime('%Y-%m-%d')}".strip()


def _file_text(file: Mapping[str, Any]) -> str:
    """Size and time of last modification."""
    modified = datetime.fromtimestamp(float(file.get("time") or 0)).strftime("%Y-%m-%d %H:%M")
    return f"{file_size(float(file.get('bytes') or 0))} · {modified}"


def _runs(runs: Mapping[str, Any]) -> str:
    """How often a scan was refined, and the last loss."""
    if not runs:
        return "not refined"
    return f"{len(runs)} refinement{'' if len(runs) == 1 else 's'}"
