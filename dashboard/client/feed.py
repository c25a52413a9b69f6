"""One thread per process listens to the server; every page reads the newest view of what was received.

The latest event wins: of the events that arrived since the last turn only the newest of each kind is processed, and
pictures are prepared only while some page wants them. Nothing queues up here, so a slow page does not delay the others.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.state import FINAL_STATES, LogLine, RefinementState, ServerState, after_restart
from ptylive.dashboard.pictures import Picture, RawPicture, Surroundings, prepare, sources_of
from ptylive.schema import PtyliveError
from ptylive.schema.maps import InformationLimit
from ptylive.server.wire.client import ControlClient, EventStream
from ptylive.server.wire.messages import array_from_plain

GONE_AFTER_S = 4.0
"""Silence after which the server counts as gone; it sends about four times a second, less often on a busy machine."""
UNITS_OF_A_RUN = (
    ("object", "rad"), ("probe", ""), ("slices", "rad"), ("slice_amplitudes", ""),
    ("object_deviation", "rad"), ("object_amplitude", ""),
)  # fmt: skip
"""Arrays of a refinement, and their units."""
TURN_S = 0.1
SNAPSHOT_TIMEOUT_S = 2.0
RETRY_S = 1.0
SETTLE_S = 0.5
"""Delay between the end of a scan and the snapshot that makes up for events lost on the way."""
OPENED_S = 0.1
"""Delay between a change of the displayed scan and the snapshot with what was sent about it before."""
RENEW_S = 1.5
"""How often the server is told which maps are on display; it forgets after five seconds."""
EVENTS_PER_TURN = 500
MOST_PAST_UIDS = 64
"""Number of finished scans whose uids are kept: their results may arrive long after the next scan began."""

logger = logging.getLogger(__name__)
Parsed = TypeVar("Parsed", bound=BaseModel)


@dataclass(frozen=True)
class FeedView:
    """What the server last reported; immutable, so a page may keep it for any length of time."""

    state: ServerState = field(default_factory=ServerState)
    pictures: Mapping[str, Picture] = field(default_factory=lambda: MappingProxyType({}))
    """Pictures that some page wants, by name."""
    available: frozenset[str] = frozenset()
    """Names of the arrays received so far; a picture made from one of them is at most a turn away."""
    refinement: RefinementState | None = None
    log: LogLine | None = None
    connected: bool = False
    last_contact: float | None = None
    """Unix time of the last message from the server; None before the first."""

    slices: int = 0
    """Number of slices of the object that can be viewed one by one."""
    kinds: MapKinds = field(default_factory=MapKinds)
    """The server's description of its maps."""
    ended: bool = False
    """Whether the server, and this dashboard with it, is being ended on purpose."""

    def is_coming(self, wanted: str) -> bool:
        """Whether the picture ``wanted`` exists or is about to."""
        return self.available.issuperset(sources_of(wanted))


class Feed:
    """Listens to the server at ``control`` until :meth:`stop`; survives the server's absence and restarts."""

    def __init__(self, control: str) -> None:
        self.control = control
        self._view = FeedView()
        self._wanted: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._versions = count(1)
        self._raw: dict[str, RawPicture] = {}
        self._stale: set[str] = set()
        self._coverage: RawPicture | None = None
        self._previous: Mapping[str, RawPicture] = MappingProxyType({})
        self._past_uids: deque[str] = deque(maxlen=MOST_PAST_UIDS)
        self._snapshot_due: float | None = 0.0
        self._listening = self._ended = False
        self._name = f"dashboard-{uuid.uuid4().hex}"
        self._reported: list[str] | None = None
        self._report_due = 0.0
        self._heard_at = -math.inf
        """When the server was last heard, by a clock that nobody sets."""

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=SNAPSHOT_TIMEOUT_S + 2)

    def view(self) -> FeedView:
        """The newest view."""
        return replace(self._view, ended=True) if self._ended else self._view

    def end(self) -> None:
        """Record that the server is being ended on purpose: pages report it from now on."""
        self._ended = True

    def watch(self, viewer: str, names: Collection[str]) -> None:
        """Register which pictures ``viewer`` shows; others are not prepared. No names: the viewer has gone."""
        with self._lock:
            if names:
                self._wanted[viewer] = frozenset(names)
            else:
                self._wanted.pop(viewer, None)

    def _run(self) -> None:
        with (
            EventStream(self.control, topics=("maps", "state", "refinement", "log")) as events,
            ControlClient(self.control, timeout_s=SNAPSHOT_TIMEOUT_S, stopping=self._stopping) as client,
        ):
            while not self._stopping.is_set():
                try:
                    self._take_all(_newest(events))
                    self._keep_contact(client, linked=events.is_connected())
                    self._report_shown_maps(client)
                    self._prepare_wanted()
                except Exception:  # no fault of any kind may silence the page for ever
                    logger.exception("the feed was interrupted by an error")
                    self._stopping.wait(RETRY_S)

    # -- what the server says -------------------------------------------------------------------------------------

    def _take_all(self, newest: list[tuple[str, dict[str, Any]]]) -> None:
        for topic, payload in newest:
            taker = self._takers.get(topic)
            if taker is None:
                continue
            self._note_contact()
            try:
                taker(self, payload)
            except (KeyError, TypeError, ValueError) as error:
                logger.warning("a %s event could not be read: %s", topic, error)

    def _note_contact(self) -> None:
        """Handle an event; the first after a silence requests a snapshot, because others were lost before it."""
        if not self._listening:
            self._listening = True
            self._snapshot_due = 0.0
        self._show_contact()

    def _show_contact(self) -> None:
        self._heard_at = time.monotonic()
        self._show(connected=True, last_contact=time.time())

    def _take_state(self, payload: Mapping[str, Any]) -> None:
        state = _parsed(ServerState, payload)
        if state is None:
            return
        before = self._view.state
        state = after_restart(before, state)
        if state.uid is not None and state.uid != before.uid and before.uid is not None:
            self._change_scan(before.uid, state.uid)
        elif state.state in FINAL_STATES and before.state != state.state:
            self._snapshot_due = time.monotonic() + SETTLE_S
        if (state.scan, state.uid) != (before.scan, before.uid):
            self._stale.update(self._raw)
        self._show(state=state)

    def _take_map(self, payload: Mapping[str, Any]) -> None:
        uid = payload.get("uid")
        known = self._view.state.uid
        if uid is not None and known is not None and uid != known:
            if uid in self._past_uids:
                return  # results of an earlier scan; the next one has begun meanwhile and is the one on display
            self._change_scan(known, uid)
            self._show(state=self._view.state.model_copy(update={"uid": uid}))
        raw = raw_picture(str(payload["name"]), payload)
        if raw.name == "coverage":
            self._coverage = raw
            self._stale.update(self._raw)
        else:
            self._store(raw)

    def _take_refinement(self, payload: Mapping[str, Any]) -> None:
        refinement = _parsed(RefinementState, payload)
        if refinement is None:
            return
        before = self._view.refinement
        if before is not None and (before.uid, before.run) != (refinement.uid, refinement.run):
            self._forget(*(name for name, _ in UNITS_OF_A_RUN))
        elif payload.get("object") and not payload.get("object_deviation"):
            self._forget("object_deviation")  # the run continues: the deviation belonged to an earlier object
        self._show(refinement=refinement)
        for name, units in UNITS_OF_A_RUN:
            if payload.get(name):
                self._store(replace(raw_picture(name, payload[name]), units=units))
        self._show(slices=len(self._raw["slices"].data) if "slices" in self._raw else 0)

    def _take_log(self, payload: Mapping[str, Any]) -> None:
        line = _parsed(LogLine, payload)
        if line is not None and line.level.lower() in ("warning", "error", "critical"):
            self._show(log=line)

    _takers: Mapping[str, Callable[[Feed, Mapping[str, Any]], None]] = MappingProxyType(
        {"state": _take_state, "maps": _take_map, "refinement": _take_refinement, "log": _take_log}
    )

    # -- keeping in touch -----------------------------------------------------------------------------------------

    def _keep_contact(self, client: ControlClient, *, linked: bool) -> None:
        """Detect that the server has gone; request a snapshot at the start, after a silence and after a scan.

        ``linked``: whether its events are connected; a killed server takes the connection with it.
        """
        if time.monotonic() - self._heard_at > GONE_AFTER_S or (self._listening and not linked):
            self._listening = False
            if self._view.connected:
                self._show(connected=False)
            self._snapshot_due = self._snapshot_due or 0.0
        if self._snapshot_due is None or time.monotonic() < self._snapshot_due:
            return
        try:
            reply = client.call("snapshot")
        except PtyliveError:
            self._snapshot_due = time.monotonic() + RETRY_S
            return
        self._snapshot_due = None
        self._show_contact()
        self._show(kinds=MapKinds.from_plain(reply.get("map_kinds")))
        self._take_state(reply.get("state") or {})
        for payload in reply.get("maps") or []:
            self._take_map(payload)
        if reply.get("refinement"):
            self._take_refinement(reply["refinement"])

    def _report_shown_maps(self, client: ControlClient) -> None:
        """Tell the server which maps are shown, to be renewed; without a page nothing is sent and it renews all."""
        with self._lock:
            wanted = list(self._wanted.values())
        shown = (
            sorted({source for names in wanted for name in names for source in sources_of(name)}) if wanted else None
        )
        now = time.monotonic()
        if not self._view.connected or (shown == self._reported and (shown is None or now < self._report_due)):
            return
        client.tell("watch", viewer=self._name, maps=shown)
        self._reported, self._report_due = shown, now + RENEW_S

    # -- pictures -------------------------------------------------------------------------------------------------

    def _store(self, raw: RawPicture) -> None:
        self._raw[raw.name] = raw
        self._stale.add(raw.name)
        self._show(available=frozenset(self._raw))

    def _forget(self, *names: str) -> None:
        for name in names:
            self._raw.pop(name, None)
            self._stale.discard(name)
        remaining = {k: v for k, v in self._view.pictures.items() if not set(names) & set(sources_of(k))}
        self._show(pictures=MappingProxyType(remaining), available=frozenset(self._raw))

    def _change_scan(self, old: str, new: str) -> None:
        """Switch to another scan, a new one or an old one that was opened."""
        self._forget_scan()
        self._past_uids.append(old)
        while new in self._past_uids:
            self._past_uids.remove(new)
        # the maps of a reopened scan are sent once, perhaps before this feed knew that the scan is on display
        self._snapshot_due = time.monotonic() + OPENED_S

    def _forget_scan(self) -> None:
        """Forget the old scan, so that the new one is not confused with it; viewers who overwrite keep its maps."""
        if self._raw:
            self._previous = MappingProxyType(dict(self._raw))
        self._coverage = None
        self._forget(*self._raw)
        self._show(refinement=None)

    def _prepare_wanted(self) -> None:
        with self._lock:
            wanted = frozenset().union(*self._wanted.values())
        shown = dict(self._view.pictures)
        changed = False
        surroundings = replace(surroundings_of(self._view.state, self._coverage), before=self._previous)
        for name in sorted(wanted):
            sources = sources_of(name)
            if not all(source in self._raw for source in sources):
                continue
            if name in shown and self._stale.isdisjoint(sources):
                continue
            raw, *more = (self._raw[source] for source in sources)
            shown[name] = prepare(raw, next(self._versions), surroundings, wanted=name, more=more)
            changed = True
        for name in [n for n in shown if n not in wanted and not self._stale.isdisjoint(sources_of(n))]:
            del shown[name]
            changed = True
        self._stale.clear()
        if changed:
            self._show(pictures=MappingProxyType(shown))

    def _show(self, **changes: Any) -> None:
        self._view = replace(self._view, **changes)


def surroundings_of(state: ServerState, covered: RawPicture | None) -> Surroundings:
    """The context that pictures need, from the state of a scan and its coverage."""
    coverage = None if covered is None else np.asarray(covered.data, dtype=bool)
    shape = state.scan.shape or (None if coverage is None else (coverage.shape[0], coverage.shape[1]))
    rotation = state.calibrated("rotation_deg")
    turned = float(rotation) if isinstance(rotation, int | float) else 0.0
    return Surroundings(coverage, shape, state.scan.step_A, turned, state.aperture_invA)


def _newest(events: EventStream) -> list[tuple[str, dict[str, Any]]]:
    """Events that have arrived, only the newest of each kind, in order of arrival; waits one turn for the first."""
    newest: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    event = _next(events, TURN_S)
    for _ in range(EVENTS_PER_TURN):
        if event is None:
            break
        topic, payload = event
        key = (topic, payload.get("uid"), payload.get("name") or ("object" in payload, "probe" in payload))
        newest.pop(key, None)
        newest[key] = event
        event = _next(events, 0.0)
    return list(newest.values())


def _next(events: EventStream, timeout_s: float) -> tuple[str, dict[str, Any]] | None:
    try:
        return events.next(timeout_s=timeout_s)
    except ValueError as error:
        logger.warning("an event could not be read: %s", error)
        return None


def raw_picture(name: str, plain: Mapping[str, Any]) -> RawPicture:
    """An array of an event or a reply. Raises KeyError, TypeError, ValueError if it is invalid."""
    sampling, deviation = plain.get("sampling_A"), plain.get("deviation")
    return RawPicture(
        name=name,
        data=array_from_plain(plain),
        units=str(plain.get("units") or ""),
        sampling_A=None if sampling is None else _per_axis(sampling),
        frames=int(plain.get("frames") or 0),
        method=str(plain.get("method") or ""),
        deviation=None if deviation is None else float(deviation),
        at_least=bool(plain.get("deviation_is_lower_bound")),
        buried=bool(plain.get("buried")),
        faint=bool(plain.get("faint")),
        carries={
            float(dose): InformationLimit(float(period), float(doubt), bool(finer))
            for dose, period, doubt, finer in plain.get("information_limits") or ()
        },
    )


def _per_axis(sampling: Any) -> tuple[float, float]:
    """Sampling (row, col) from one number or two."""
    values = np.broadcast_to(np.asarray(sampling, dtype=float), 2)
    return float(values[0]), float(values[1])


def _parsed(model: type[Parsed], payload: Mapping[str, Any]) -> Parsed | None:
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        logger.warning("a %s message could not be read: %s", model.__name__, error.errors()[0]["msg"])
        return None
