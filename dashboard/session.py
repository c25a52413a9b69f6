"""One page in one browser: builds it, and sends changes a few times a second."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from bokeh.document import Document
from bokeh.models import InlineStyleSheet, RadioButtonGroup, Toggle

from ptylive.dashboard import readouts, recipes
from ptylive.dashboard.access import FETCH, READ_ONLY, is_own_view
from ptylive.dashboard.actions import RefineActions
from ptylive.dashboard.client import dose
from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.orders import CommandSender, Orders
from ptylive.dashboard.exports import Exports
from ptylive.dashboard.keys import MapKeys
from ptylive.dashboard.models import Asked, Page
from ptylive.dashboard.panels.advice.advisor import Seen
from ptylive.dashboard.panels.advice.page_advice import PageAdvice
from ptylive.dashboard.panels.calibration import CalibrationPanel
from ptylive.dashboard.panels.curves import RunCurves
from ptylive.dashboard.panels.diffraction import DiffractionPanel
from ptylive.dashboard.panels.library import LibraryPanel
from ptylive.dashboard.panels.live.bokeh_defaults import remember_defaults
from ptylive.dashboard.panels.live.browser_hooks import connect_choices, connect_page
from ptylive.dashboard.panels.live.contrast import Contrast
from ptylive.dashboard.panels.live.doubts import Doubts
from ptylive.dashboard.panels.live.missing import explained
from ptylive.dashboard.panels.live.parts import Part, PicturePanel, gathered
from ptylive.dashboard.panels.live.pick import HERE, PickedPoint
from ptylive.dashboard.panels.live.refined_map import RefinedMap
from ptylive.dashboard.panels.live.shown_run import ShownRun
from ptylive.dashboard.panels.loss import LossCurve
from ptylive.dashboard.panels.map_numbers import MapNumbers
from ptylive.dashboard.panels.maps import SIX, Mosaic
from ptylive.dashboard.panels.past import PastScans
from ptylive.dashboard.panels.positions import PositionsOverlay
from ptylive.dashboard.panels.profile import ProfilePanel
from ptylive.dashboard.panels.reconstruction import ReconstructionPanel
from ptylive.dashboard.panels.refine import RefinePanel, refinement_texts
from ptylive.dashboard.panels.runs import RunsPanel
from ptylive.dashboard.panels.series.batch import BatchPanel, chosen
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.panels.series.tune import TunePanel
from ptylive.dashboard.panels.trotter import TrotterPanel
from ptylive.dashboard.pictures import OVERWRITING
from ptylive.dashboard.present import OnScreen, ShownScanSender, shown_by
from ptylive.dashboard.requests import Request, RequestDispatcher
from ptylive.dashboard.skeleton import TITLE, PageRoots, read_template
from ptylive.dashboard.theme import Theme

TICK_MS = 100
remember_defaults()
VIEWS = ("session", "refine", "tune", "library")


class Session:
    """Everything one viewer sees and requests. Lives as long as the page."""

    def __init__(
        self,
        document: Document,
        feed: Feed,
        sender: CommandSender,
        *,
        read_only: bool = False,
        offer_download: Callable[[Path], str] | None = None,
    ) -> None:
        self.id = uuid4().hex
        self.document = document
        self.feed = feed
        self.read_only = read_only
        self.on_screen = OnScreen(lambda: feed.view().state)
        self.orders = Orders(ShownScanSender(sender, self.on_screen.now, self._looked_at))
        self.exports = Exports(self.orders, offer_download)
        self.page, self.asked = Page(content=readouts.first_content(read_only=read_only)), Asked()
        style = InlineStyleSheet(css=read_template("styles/widgets.css"))
        self.mosaic = Mosaic(style, feed.view().kinds)
        self.mosaic.on_layout = self._watch
        for panel in self.mosaic.panels:
            panel.on_choice = self._watch
        self.profile = ProfilePanel(self.mosaic.panels, style)
        self._map_keys = MapKeys(self.mosaic)
        self.diffraction = DiffractionPanel(style, self._watch, self.orders)
        self.picked = PickedPoint(self.mosaic.panels, self.orders, self.profile.is_on, self.diffraction.show_here)
        self.trotter = TrotterPanel(style, self._watch, self.orders)
        self.past = PastScans(self.orders)
        self.calibration = CalibrationPanel(self.orders)
        self.map_numbers = MapNumbers(self.mosaic.panels, self.orders)
        self.library = LibraryPanel(
            self.orders,
            lambda: self._go_to("session"),
            lambda: self._go_to("refine"),
            lambda: self.advice.guide.begin(feed.view().state),
        )
        self.reconstruction = ReconstructionPanel(style)
        self.positions = PositionsOverlay(self.reconstruction.object.plot, style, self.orders)
        self.runs = RunsPanel(self.orders, self.reconstruction.object.window)
        self.loss = LossCurve(self.runs.losses)
        self.doubts, self.shown_run = Doubts(self.orders), ShownRun(self.orders)
        self.refined_map, self.contrast = RefinedMap(), Contrast(self.mosaic.panels, self.reconstruction.object)
        self.curves = RunCurves(self.reconstruction.object.plot, style, self.orders)
        picked = lambda: self.picked.point is not None  # noqa: E731
        self.advice = PageAdvice(self.orders, self.mosaic.panels, picked, self._use_also, lambda: self.refine)
        self.place = PlaceChoice()
        found, show = (lambda: self.shown_run.name, self.exports.written), lambda: self._go_to("refine")
        self.actions = does = RefineActions(self.orders, self.place, lambda: self.refine.queues, show, *found)
        self.refine = RefinePanel(style, does.refine, does.stop, does.save, does.resume, self.orders.say)
        self.tune = TunePanel(self.orders, self.place, self.refine.preset, self._use)
        self.batch = BatchPanel(self.orders, self.place, self.refine.preset, self.exports.written, show)
        self._apply_theme(Theme.DARK)
        common = {"height": 26, "margin": 0, "stylesheets": [style]}
        self.view_choice = RadioButtonGroup(name="view", labels=list(map(str.capitalize, VIEWS)), active=0, **common)
        self.light = Toggle(name="light", label="light", width=52, **common)
        self._requests = RequestDispatcher(self._takers(), self._allows)
        self._texts: dict[str, str] = {}
        self._build(document)
        self._watch()

    # -- the page -------------------------------------------------------------------------------------------------

    def _build(self, document: Document) -> None:
        document.title = TITLE
        document.config.update(reconnect_session=False, notify_connection_status=False)
        parts: list[Part] = [*self.mosaic.panels, self.profile, self.diffraction, self.trotter, self.loss]
        parts += [self.reconstruction, self.positions, self.runs, self.curves, self.refine, self.tune]
        self.view_choice.tags = [self.page, self.asked]  # a model belongs to the document only if a root refers to it
        roots: list[Any] = [self.view_choice, self.light, *(root for part in parts for root in part.roots)]
        connect_page(document, self.page, self.asked, [*(one.view for one in self.mosaic.first), self.diffraction.view])
        choosers = [chooser for panel in self.mosaic.panels for chooser in (panel.choice, panel.colours)]
        connect_choices(choosers, self.view_choice, list(VIEWS), self.light)
        self._roots = PageRoots(document, roots)
        self.light.on_change("active", self._switch_theme)
        self.asked.on_change("content", lambda _attr, _old, new: self._requests.take(new))
        self.view_choice.on_change("active", lambda _attr, _old, _new: self._watch())
        document.add_periodic_callback(self.tick, TICK_MS)
        document.on_session_destroyed(self._leave)

    def _leave(self, _context: Any) -> None:
        self.feed.watch(self.id, ())
        gc.collect()  # closed pages are large reference cycles, which Python would otherwise keep for a long time

    @property
    def view_name(self) -> str:
        """Name of the view on display."""
        return VIEWS[self.view_choice.active or 0]

    def _watch(self) -> None:
        self.feed.watch(self.id, self._wanted())

    def _wanted(self) -> set[str]:
        wanted = {name for panel in self._panels_on_show() for _, name in panel.figures}
        return wanted | self.refined_map.sources(wanted)

    def _switch_theme(self, _attr: str, _old: bool, new: bool) -> None:
        self._apply_theme(Theme.LIGHT if new else Theme.DARK)
        self.light.label = "dark" if new else "light"

    def _apply_theme(self, theme: Theme) -> None:
        for part in (self.loss, self.curves, self.tune.landscape, self.profile):
            part.wear(theme)

    # -- a few times a second -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Send what has changed since the last tick."""
        view = self.feed.view()
        self._complete_roots()
        self.orders.collect()
        self.past.follow(view)
        wanted = self._wanted()
        pattern = any(name.startswith(HERE) for name in wanted)
        self.picked.follow(self.past.state or view.state, looking_back=self.past.looking_back, wanted=pattern)
        refined = self.shown_run.view(view, wanted)
        shown = self.picked.view(self.past.view(view, wanted))
        shown = shown if self.past.looking_back else self.refined_map.view(shown, refined, wanted)
        self.document.hold("combine")
        try:
            self.mosaic.offer(shown.available, view.kinds)
            self._offer_pictures(refined if self.view_name == "refine" else shown)
            self.contrast.follow(shown, refined, self.reconstruction.figures[0][1])
            self.profile.show(shown.pictures.get(self.profile.source))
            self.loss.show(refined.refinement)
            self.diffraction.draw_disc(self.past.state or view.state)
            self.diffraction.detectors.follow(view.state)
            if self.view_name == "session":
                self._follow_trotter(view, shown)
            self.runs.follow(view, self.refine.preset())
            self.shown_run.follow(view, self.runs.known)
            self.doubts.follow(view, self.runs.findings)
            self.advice.follow(Seen(view, self.past.looking_back, self.view_name == "session"))
            self.runs.show(self.reconstruction.phase_limits, refined.pictures.get("object"))
            self.positions.follow(refined)
            self.curves.follow(refined, refined.pictures.get(self.reconstruction.figures[0][1]), self.runs.compared)
            self.library.follow(view, self.past.state or view.state, on_show=self.view_name == "library")
            free = view.connected and not self.orders.busy and not self.read_only
            self.place.follow(view.state)
            self.tune.follow(view, on_show=self.view_name == "tune", free=free)
            self.batch.follow(view, on_show=self.view_name == "library", free=free)
            self.refine.enable(view.state, refined, free=free)
            self._write(view, refined)
        finally:
            self.document.unhold()

    def _complete_roots(self) -> None:
        """Send the figures that have not been needed so far, as soon as one of them is wanted."""
        wanted = self.view_name in ("refine", "tune") or self.trotter.on_show or self.profile.active.active
        if (wanted or self.mosaic.layout == SIX) and self._roots.missing:
            further, run = (panel.view for panel in self.mosaic.more), self.reconstruction
            for view in (*self.trotter.views, *further, run.object, run.probe, self.runs.view):
                view.place()
            self._roots.complete()

    def _loaded(self, _request: Request) -> None:
        self._roots.loaded = True

    def _follow_trotter(self, view: FeedView, shown: FeedView) -> None:
        if self.past.looking_back:
            self.trotter.refuse("trotters are available for the newest scan only")
        else:
            self.trotter.follow(view, shown.available)
        self.trotter.show()

    def _offer_pictures(self, view: FeedView) -> None:
        """Offer pictures and captions of the displayed view; while a new picture is on its way the last one stays."""
        for panel in self._panels_on_show():
            for figure, name in panel.figures:
                picture = view.pictures.get(name)
                if picture is not None:
                    figure.offer(picture)
                    self._texts.update(panel.texts(name, picture))
                elif not view.is_coming(name) and not (name.endswith(OVERWRITING) and figure.showing == name):
                    figure.clear()
                    self._texts.update(panel.texts(name, None))
                figure.measure()

    def _panels_on_show(self) -> list[PicturePanel]:
        if self.view_name in ("tune", "library"):
            return []
        if self.view_name == "refine":
            return [self.reconstruction]
        return [*([self.trotter] if self.trotter.on_show else self.mosaic.shown), self.diffraction]

    def _write(self, view: FeedView, refined: FeedView) -> None:
        state = view.state
        self._texts |= readouts.header_texts(state) | readouts.stream_texts(state) | readouts.welcome_texts(state)
        self._texts |= self.map_numbers.texts(state.map_settings)
        self._texts.update(readouts.calibration_texts(self.past.state or state) | dose.texts(self.past.state or state))
        self._texts.update(refinement_texts(refined.state.refinement, refined.refinement, state.uid))
        self._texts["banner"] = readouts.banner(view, self.feed.control)
        said = readouts.sentence(view, self.orders.sentence, self.orders.sentence_age_s)
        self._texts["sentence"] = "\n".join(filter(None, (self.profile.text(), said)))
        parts = (self.runs, self.shown_run, self.curves, self.library, self.past, self.tune, self.advice)
        self._texts |= gathered("texts", *parts)
        kinds = [panel.kind.name for panel in self.mosaic.panels]
        self._texts |= self.doubts.texts(kinds, self.advice.first_maps.badge)
        self._texts |= self.picked.texts(shown=any(name.startswith(HERE) for _, name in self.diffraction.figures))
        if self.trotter.on_show:
            self._texts |= self.trotter.readouts()
        text = json.dumps(self._content(view, refined), ensure_ascii=False)
        if text != self.page.content:
            self.page.content = text
        cards = self.library.cards() if self.view_name == "library" else self.page.cards
        if cards != self.page.cards:
            self.page.cards = cards

    def _content(self, view: FeedView, refined: FeedView) -> dict[str, dict[str, Any]]:
        """Everything on the page that is neither a picture nor a Bokeh widget."""
        styles = readouts.styles(view) | self.reconstruction.styles() | self.trotter.styles()
        for panel in self.mosaic.panels:
            styles |= panel.styles()
        of_runs = (self.runs, self.curves, self.refine, self.shown_run, self.tune, self.batch, self.place)
        marked = (*of_runs, self.past, self.advice, self.doubts, self.library)
        marks = readouts.marks(refined) | gathered("marks", *marked) | self.reconstruction.marks(refined.available)
        marks |= {**readouts.role_marks(read_only=self.read_only), "fetches": "on" if self.exports.offers else "off"}
        switches = {"advice": self._texts.get("advice"), "profile": self.profile.active.active}
        switches |= {"trotter": self.trotter.on_show, "overwrite": self.mosaic.panels[0].overwrites}
        marks |= {name: "on" if on else "off" for name, on in switches.items()}
        lists = {
            **self.calibration.lists(self.past.state or view.state),
            **self.runs.lists(self.shown_run.name or str(view.state.refinement.run or "")),
            "slices": refined.slices,
            "dose": dose.points(self.past.state or view.state),
        }
        listed = (self.library, self.past, self.place, self.tune, self.batch, self.contrast, self.refine, self.advice)
        lists |= gathered("lists", *listed, self.diffraction.detectors)
        lists |= {"heard": readouts.heard(view.state), "downloads": self.exports.downloads}
        lists |= {"on_screen": shown_by(view.state)}
        notes, needs = explained(view.state, self.mosaic.panels)
        self._texts |= notes
        lists |= needs
        preset, state = self.shown_run.preset or self.refine.preset(), view.state
        server = (state.recording, self.feed.control, state.data, state.protocol, self.actions.every)
        clips = {
            **self.calibration.clips(self.past.state or view.state),
            **self.map_numbers.clips(view.state.map_settings),
            **self.diffraction.clips(),
            **recipes.clips(preset, *server, self.runs.scans_beside(self.shown_run.name)),
        }
        return {"texts": self._texts, "marks": marks, "styles": styles, "lists": lists, "clips": clips}

    # -- what the viewer asks for ---------------------------------------------------------------------------------

    def _takers(self) -> dict[str, Callable[[Request], None]]:
        parts = (self.calibration, self.advice, self.library, self.tune, self.past)
        return {
            "ready": self._loaded,
            "key": self._key,
            "use": self.doubts.use,
            "pick": self.picked.ask,
            "contrast": self.contrast.ask,
            "numbers": self.map_numbers.set,
            "run": self._run,
            "compare": self.runs.compare,
            "beside": self._beside,
            "show_run": self.shown_run.choose,
            "fetch": lambda request: self.exports.fetch(chosen(request.value)),
            "preset": lambda request: self.orders.say(self.refine.load(request.value)),
            "withdraw": self.runs.withdraw,
            "layout": self.mosaic.lay_out,
            "overwrite": lambda _request: self.mosaic.overwrite(self._watch),
            "record": lambda _request: self.past.record(on=not self.feed.view().state.record),
            **gathered("takers", *parts, self.batch, self.actions, self.on_screen),
            "place": self.place.choose,
            "detector": self.diffraction.detectors.ask,
        }

    def _allows(self, request: Request) -> bool:
        """Whether this viewer may make the request; a refusal is reported."""
        own = is_own_view(request.what, request.key) or (request.what == FETCH and self.exports.offers)
        if self.read_only and not own:
            self.orders.say(READ_ONLY)
            return False
        return True

    def _looked_at(self) -> str:
        """The earlier scan that this viewer looks at, in words; empty when it is the scan the server shows."""
        return self.past.texts()["past"] if self.past.looking_back else ""

    def _beside(self, request: Request) -> None:
        """Show another scan's last run next to the displayed scan, or next to the scan in ``value``, opened first."""
        if request.value:
            self.runs.want_beside(request.name)
            request_again = request.model_copy(update={"value": ""})
            self.library.open_then(request.value, "opened", lambda: self._beside(request_again))
            return
        self.runs.beside(request)
        self._go_to("refine")

    def _use(self, settings: dict[str, Any]) -> None:
        """Put settings into the refine form, and show it."""
        self.refine.take_over(settings)
        self._go_to("refine")

    def _use_also(self, settings: dict[str, Any]) -> None:
        """Add settings to those already in the refine form, and show it."""
        self._use({**self.refine.preset(), **settings})

    def _go_to(self, view: str) -> None:
        self.past.leave()
        self.view_choice.active = VIEWS.index(view)

    def _run(self, request: Request) -> None:
        if request.key in ("slice", "deviation", "shows", "fourier", "entire"):
            self.reconstruction.choose(request, self.shown_run.view(self.feed.view()).slices)
            self._watch()
        elif request.key in ("side_by_side", "report"):
            getattr(self.exports, request.key)()
        elif request.key in ("refine", "stop", "save", "resume", "more"):
            self.refine.press(request.key)

    def _export(self, index: int) -> None:
        """Write the map of a panel as it is shown, and its numbers."""
        if self.view_name == "refine":
            figure, name = self.reconstruction.object, self.reconstruction.exported
        elif index < len(self.mosaic.panels):
            name, figure = self.mosaic.panels[index].kind.name, self.mosaic.panels[index].view
        else:
            return
        self.exports.picture(name, figure)

    def _key(self, request: Request) -> None:
        switches = {"o": self.trotter.active, "p": self.profile.active, "d": self.light}
        if request.key in switches:
            switches[request.key].active = not switches[request.key].active
        elif request.key == "v":
            self.view_choice.active = ((self.view_choice.active or 0) + 1) % len(VIEWS)
        elif request.key in ("r", "s"):
            self.refine.press("refine" if request.key == "r" else "stop")
        elif request.key == "e":
            self._export(request.panel)
        else:
            self._map_keys.press(request.key, request.panel)
