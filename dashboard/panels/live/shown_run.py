"""A run read from the results file, in the place of the one that is told: one that was clicked, or the last one of a
scan that was opened again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.feed import FeedView, raw_picture, surroundings_of
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import RefinementState, RefinementSummary
from ptylive.dashboard.pictures import DERIVED_OF_A_RUN, Picture, RawPicture, is_slice, prepare, sources_of
from ptylive.dashboard.requests import Request
from ptylive.schema import PtyliveError

SHOWN = ("object", "probe", "object_amplitude")
BY_SLICES = ("slices", "slice_amplitudes")
OF_A_RUN = frozenset((*SHOWN, *BY_SLICES, "object_deviation", *DERIVED_OF_A_RUN))
BUSY = frozenset({"queued", "running", "stopping"})
logger = logging.getLogger(__name__)


class ShownRun:
    """Which stored run is shown, with its pictures, losses and settings; none: the run that the server tells of."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._chosen = ""
        self._asked: tuple[str, ...] = ()
        self._uid = ""
        self._told: dict[str, Any] = {}
        self._raw: dict[str, RawPicture] = {}
        self._view = FeedView()
        self._signature: tuple[object, ...] = ()
        self._pictures: dict[str, Picture] = {}
        self._versions = count(1)

    @property
    def name(self) -> str:
        """Of the stored run that is shown; empty: there is none."""
        return str(self._told.get("run", "")) if self._raw else ""

    @property
    def preset(self) -> dict[str, Any] | None:
        """Settings of the stored run that differ from the defaults; None where none is shown."""
        return changed_settings(self._told.get("preset")) if self._raw else None

    def choose(self, request: Request) -> None:
        """Show a run; once more, or without a name: the one that is told again."""
        self._chosen = "" if request.name == self._chosen else request.name

    def follow(self, view: FeedView, runs: Mapping[str, Any]) -> None:
        """Ask for the run that is to be shown; ``runs``: those of the scan that is shown."""
        uid = view.state.uid or ""
        if uid != self._uid:
            self._uid, self._chosen = uid, ""
        told = view.refinement
        of_this_scan = told is not None and told.state != "none" and told.uid in (None, "", uid)
        wanted = self._chosen if self._chosen in runs else ""
        if not wanted and not of_this_scan and runs:
            wanted = max(runs, key=number_of)
        if of_this_scan and told is not None and wanted == str(told.run or ""):
            wanted = ""
        key = (uid, wanted) if wanted else ()
        if key == self._asked:
            return
        self._asked, self._told, self._raw = key, {}, {}
        if wanted:
            self._orders.ask("runs", lambda reply: self._take(reply) if self._asked == key else None, pictures=[wanted])

    def _take(self, reply: Reply) -> None:
        try:
            run = reply["pictures"][0]
            raw = {name: raw_picture(name, run[name]) for name in (*SHOWN, *BY_SLICES) if run.get(name)}
            losses = [float(v) for v in run["losses"]]
            told = {**run, "losses": losses, "phases": [str(phase) for phase in run.get("phases", ())]}
            raw |= {name: replace(raw[name], units="rad") for name in ("object", "slices") if name in raw}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            logger.warning("a stored run could not be read: %s", error)
            return
        self._told, self._raw, self._signature = told, raw, ()

    def view(self, view: FeedView, wanted: Collection[str] = ()) -> FeedView:
        """What the Refine view shows: the stored run in the place of the one that is told.

        ``wanted``: names of pictures, of which single slices are made only then.
        """
        if not self._raw:
            return without_other_scans(view)
        losses, state = self._told["losses"], str(self._told.get("state") or "done")
        run = RefinementState(
            uid=view.state.uid,
            run=self.name,
            state=state,
            epoch=len(losses),
            epochs=len(losses),
            loss=losses[-1] if losses else None,
            losses=losses,
            phases=self._told["phases"],
        )
        around = surroundings_of(view.state, None)
        signature = (around.scan_shape, around.step_A, around.rotation_deg)
        if signature != self._signature:
            self._signature, self._pictures = signature, {}
        for name in (*SHOWN, *DERIVED_OF_A_RUN, *filter(is_slice, wanted)):
            raws = [self._raw[source] for source in sources_of(name) if source in self._raw]
            if name not in self._pictures and len(raws) == len(sources_of(name)):
                self._pictures[name] = prepare(raws[0], -next(self._versions), around, wanted=name, more=raws[1:])
        summary = RefinementSummary(state=state, run=self.name, epoch=len(losses))
        seen = {name: picture for name, picture in view.pictures.items() if not _of_a_run(name)} | self._pictures
        there = frozenset(name for name in view.available if not _of_a_run(name)) | self._raw.keys()
        summarised = view.state.model_copy(update={"refinement": summary})
        pictures_seen = MappingProxyType(seen)
        slices = len(self._raw["slices"].data) if "slices" in self._raw else 0
        return replace(view, state=summarised, refinement=run, pictures=pictures_seen, available=there, slices=slices)

    def texts(self) -> dict[str, str]:
        """Which stored run that is, and how it was made."""
        if not self._raw:
            return {"shown_run": "", "shown_settings": ""}
        settings = ", ".join(f"{key} = {_plain(value)}" for key, value in (self.preset or {}).items())
        return {"shown_run": self.name, "shown_settings": settings or "default settings"}

    def marks(self) -> dict[str, str]:
        """Whether a stored run is shown."""
        return {"stored": "on" if self._raw else "off"}


def of_another_scan(view: FeedView) -> bool:
    """Whether the refinement that is told belongs to another scan than the one that is shown."""
    told = view.refinement
    return told is not None and bool(told.uid) and told.uid != view.state.uid


def without_other_scans(view: FeedView) -> FeedView:
    """Nothing of a refinement of another scan that has ended; one that runs can be watched, and is so called."""
    if not of_another_scan(view) or view.state.refinement.state in BUSY:
        return view
    pictures = MappingProxyType({name: one for name, one in view.pictures.items() if not _of_a_run(name)})
    there = frozenset(name for name in view.available if not _of_a_run(name))
    nothing = view.state.model_copy(update={"refinement": RefinementSummary()})
    return replace(view, state=nothing, refinement=None, pictures=pictures, available=there, slices=0)


def number_of(run: str) -> tuple[int, str]:
    """Runs are called run1, run2, …; others come before them."""
    digits = run.removeprefix("run")
    return (int(digits) if digits.isdecimal() else 0, run)


def changed_settings(preset: object) -> dict[str, Any]:
    """Settings as a file holds them, without those that are as they are by default."""
    if not isinstance(preset, Mapping):
        return {}
    try:
        known = json.loads(Preset.from_mapping(dict(preset)).model_dump_json())
        usual = json.loads(Preset.from_mapping({}).model_dump_json())
    except (PtyliveError, ValueError):
        return {str(key): value for key, value in preset.items()}
    return {key: value for key, value in known.items() if usual.get(key) != value}


def _of_a_run(name: str) -> bool:
    return name in OF_A_RUN or is_slice(name)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
