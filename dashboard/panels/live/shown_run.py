"""A run from the results file in place of the reported one: a clicked run, or the last run of a reopened scan."""

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
from ptylive.dashboard.client.state import BUSY, RefinementState, RefinementSummary
from ptylive.dashboard.pictures import DERIVED_OF_A_RUN, Picture, RawPicture, is_slice, prepare, sources_of
from ptylive.dashboard.requests import Request
from ptylive.schema import PtyliveError

SHOWN = ("object", "probe", "object_amplitude")
BY_SLICES = ("slices", "slice_amplitudes")
OF_A_RUN = frozenset((*SHOWN, *BY_SLICES, "object_deviation", *DERIVED_OF_A_RUN))
logger = logging.getLogger(__name__)


class ShownRun:
    """The stored run on display, with its pictures, losses and settings; none: the run that the server reports."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._chosen = ""
        self._requested: tuple[str, ...] = ()
        self._round = 0
        self._uid = ""
        self._stored: dict[str, Any] = {}
        self._raw: dict[str, RawPicture] = {}
        self._view = FeedView()
        self._signature: tuple[object, ...] = ()
        self._pictures: dict[str, Picture] = {}
        self._versions = count(1)

    @property
    def name(self) -> str:
        """Name of the stored run on display; empty if there is none."""
        return str(self._stored.get("run", "")) if self._raw else ""

    @property
    def preset(self) -> dict[str, Any] | None:
        """Settings of the displayed stored run that differ from the defaults; None if there is none."""
        return changed_settings(self._stored.get("preset")) if self._raw else None

    def choose(self, request: Request) -> None:
        """Show a run; if it is already shown, or without a name, return to the reported run."""
        self._chosen = "" if request.name == self._chosen else request.name

    def follow(self, view: FeedView, runs: Mapping[str, Any]) -> None:
        """Request the run that is to be shown; ``runs``: those of the displayed scan."""
        uid = view.state.uid or ""
        if uid != self._uid:
            self._uid, self._chosen = uid, ""
        reported = view.refinement
        of_this_scan = reported is not None and reported.state != "none" and reported.uid in (None, "", uid)
        wanted = self._chosen if self._chosen in runs else ""
        if not wanted and not of_this_scan and runs:
            wanted = max(runs, key=number_of)
        if of_this_scan and reported is not None and wanted == str(reported.run or ""):
            wanted = ""
        key = (uid, wanted) if wanted else ()
        unanswered = not self._raw and self._orders.round != self._round
        if key == self._requested and not unanswered:
            return
        self._requested, self._round, self._stored, self._raw = key, self._orders.round, {}, {}
        if wanted:
            self._orders.ask(
                "runs", lambda reply: self._take(reply) if self._requested == key else None, pictures=[wanted]
            )

    def _take(self, reply: Reply) -> None:
        try:
            run = reply["pictures"][0]
            raw = {name: raw_picture(name, run[name]) for name in (*SHOWN, *BY_SLICES) if run.get(name)}
            losses = [float(v) for v in run["losses"]]
            stages = [int(first) for first in run.get("stages") or ()]
            phases = [str(phase) for phase in run.get("phases", ())]
            stored = {**run, "losses": losses, "phases": phases, "stages": stages}
            raw |= {name: replace(raw[name], units="rad") for name in ("object", "slices") if name in raw}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            logger.warning("a stored run could not be read: %s", error)
            return
        self._stored, self._raw, self._signature = stored, raw, ()

    def view(self, view: FeedView, wanted: Collection[str] = ()) -> FeedView:
        """What the Refine view shows: the stored run instead of the reported one.

        ``wanted``: names of pictures; pictures of single slices are made only if they are among them.
        """
        if not self._raw:
            return without_other_scans(view)
        losses, state = self._stored["losses"], str(self._stored.get("state") or "done")
        run = RefinementState(
            uid=view.state.uid,
            run=self.name,
            state=state,
            epoch=len(losses),
            epochs=len(losses),
            loss=losses[-1] if losses else None,
            losses=losses,
            phases=self._stored["phases"],
            stages=self._stored.get("stages") or [],  # absent from servers of an earlier version
            falling=self._may_go_on(),
            resumable=bool(self._stored.get("resumable", True)),
        )
        surroundings = surroundings_of(view.state, None)
        signature = (surroundings.scan_shape, surroundings.step_A, surroundings.rotation_deg)
        if signature != self._signature:
            self._signature, self._pictures = signature, {}
        for name in (*SHOWN, *DERIVED_OF_A_RUN, *filter(is_slice, wanted)):
            raws = [self._raw[source] for source in sources_of(name) if source in self._raw]
            if name not in self._pictures and len(raws) == len(sources_of(name)):
                self._pictures[name] = prepare(raws[0], -next(self._versions), surroundings, wanted=name, more=raws[1:])
        summary = RefinementSummary(state=state, run=self.name, epoch=len(losses))
        pictures = {name: picture for name, picture in view.pictures.items() if not _is_of_a_run(name)} | self._pictures
        available = frozenset(name for name in view.available if not _is_of_a_run(name)) | self._raw.keys()
        summarised = view.state.model_copy(update={"refinement": summary})
        shown_pictures = MappingProxyType(pictures)
        slices = len(self._raw["slices"].data) if "slices" in self._raw else 0
        return replace(
            view, state=summarised, refinement=run, pictures=shown_pictures, available=available, slices=slices
        )

    def _may_go_on(self) -> bool:
        """Whether the run can be continued and its loss was still falling; one in stages cannot be extended."""
        in_stages = bool((self._stored.get("preset") or {}).get("stages"))
        return bool(self._stored.get("falling") and self._stored.get("resumable")) and not in_stages

    def texts(self) -> dict[str, str]:
        """Which stored run is displayed, and how it was made."""
        if not self._raw:
            return {"shown_run": "", "shown_settings": ""}
        settings = ", ".join(f"{key} = {_plain(value)}" for key, value in (self.preset or {}).items())
        return {"shown_run": self.name, "shown_settings": settings or "default settings"}

    def marks(self) -> dict[str, str]:
        """Whether a stored run is displayed."""
        return {"stored": "on" if self._raw else "off"}


def of_another_scan(view: FeedView) -> bool:
    """Whether the reported refinement belongs to a scan other than the displayed one."""
    reported = view.refinement
    return reported is not None and bool(reported.uid) and reported.uid != view.state.uid


def without_other_scans(view: FeedView) -> FeedView:
    """Hide a finished refinement of another scan; one that runs can be watched, and is labelled as such."""
    if not of_another_scan(view) or view.state.refinement.state in BUSY:
        return view
    pictures = MappingProxyType({name: picture for name, picture in view.pictures.items() if not _is_of_a_run(name)})
    available = frozenset(name for name in view.available if not _is_of_a_run(name))
    cleared = view.state.model_copy(update={"refinement": RefinementSummary()})
    return replace(view, state=cleared, refinement=None, pictures=pictures, available=available, slices=0)


def number_of(run: str) -> tuple[int, str]:
    """Sort key of a run: runs are called run1, run2, …; others come before them."""
    digits = run.removeprefix("run")
    return (int(digits) if digits.isdecimal() else 0, run)


def changed_settings(preset: object) -> dict[str, Any]:
    """Settings as a file holds them, without those at their defaults."""
    if not isinstance(preset, Mapping):
        return {}
    try:
        known = json.loads(Preset.from_mapping(dict(preset)).model_dump_json())
        usual = json.loads(Preset.from_mapping({}).model_dump_json())
    except (PtyliveError, ValueError):
        return {str(key): value for key, value in preset.items()}
    return {key: value for key, value in known.items() if usual.get(key) != value}


def _is_of_a_run(name: str) -> bool:
    return name in OF_A_RUN or is_slice(name)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
