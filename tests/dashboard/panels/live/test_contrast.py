"""The histogram of a panel with its handles, percentiles and gamma."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.panels.live.contrast import BINS, histogram
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.dashboard.session import Session
from ptylive.pictures.colours import ColourMap, palette

DATA = np.linspace(-1.0, 3.0, 64 * 64, dtype=np.float32).reshape(64, 64)


@pytest.fixture
def session(sender: CommandSender) -> Session:
    feed = silent_feed()
    pictures = {
        name: prepare(RawPicture(name, data, "rad", (0.5, 0.5)), 1, Surroundings())
        for name, data in (("obf", DATA), ("object", -DATA))
    }
    available = frozenset(pictures)
    feed._view = replace(feed._view, pictures=MappingProxyType(pictures), available=available)
    session = Session(Document(), feed, sender)
    content(session)
    return session


def drawn(session: Session) -> dict[str, object]:
    return content(session)["lists"]["contrast"]


def test_it_opens_draws_and_closes(session: Session) -> None:
    assert drawn(session) == {"panel": -1}
    ask(session, what="contrast", key="open", panel=0)
    found = drawn(session)
    assert found["panel"] == 0
    assert found["range"] == pytest.approx([-1.0, 3.0])
    assert len(found["bins"]) == BINS
    assert min(found["bins"]) > 0.9, "all values are as frequent"
    assert found["limits"] == pytest.approx([-0.96, 2.96], abs=0.01)
    assert not found["locked"]
    ask(session, what="contrast", key="open", panel=0)
    assert drawn(session) == {"panel": -1}


def test_handles_set_the_limits_and_lock_them(session: Session) -> None:
    panel = session.mosaic.panels[0]
    ask(session, what="contrast", key="limits", panel=0, numbers=[0.5, 1.5])
    content(session)
    panel.view.shown.number = panel.view._number
    found = drawn(session)
    assert found["limits"] == [0.5, 1.5]
    assert found["locked"]
    assert panel.lock.label == "locked"
    panel.view.shown.number = panel.view._number
    content(session)
    shades = panel.view.source.data["image"][0]
    assert (shades[0, 0], shades[-1, -1]) == (1, 255)
    ask(session, what="contrast", key="limits", panel=0, numbers=[2, 1])
    assert panel.view.locked == (0.5, 1.5), "the other way round is nothing"
    ask(session, what="contrast", key="auto", panel=0)
    assert panel.view.locked is None
    assert not panel.lock.active


@pytest.mark.parametrize(("ends", "wanted"), quick_first([((0, 100), (-1.0, 3.0)), ((5, 95), (-0.8, 2.8))]))
def test_percentiles_are_those_of_the_picture(session: Session, ends: tuple, wanted: tuple) -> None:
    ask(session, what="contrast", key="open", panel=0)
    content(session)
    ask(session, what="contrast", key="percentiles", panel=0, numbers=list(ends))
    assert session.mosaic.panels[0].view.locked == pytest.approx(wanted, abs=0.01)
    ask(session, what="contrast", key="percentiles", panel=0, numbers=[3, 4])
    assert session.mosaic.panels[0].view.locked == pytest.approx(wanted, abs=0.01), "no button says so"


def test_gamma_lifts_what_is_dark_in_picture_and_bar(session: Session) -> None:
    view = session.mosaic.panels[3].view
    before = session.mosaic.panels[3].styles()["--map-3-bar"]
    ask(session, what="contrast", key="gamma", panel=3, numbers=[0.5])
    assert view.mapper.palette == palette(ColourMap.GRAY, 0.5)
    assert int(view.mapper.palette[64][1:3], 16) > int(palette(ColourMap.GRAY)[64][1:3], 16)
    assert session.mosaic.panels[3].styles()["--map-3-bar"] != before
    ask(session, what="contrast", key="gamma", panel=3, numbers=[99])
    assert view.gamma == 5.0
    view.wear(ColourMap.MAGMA)
    assert view.mapper.palette == palette(ColourMap.MAGMA, 5.0)


def test_the_object_has_one_too(session: Session) -> None:
    session.view_choice.active = 1
    ask(session, what="contrast", key="limits", panel=11, numbers=[-2, 0])
    assert drawn(session)["range"] == pytest.approx([-3.0, 1.0])
    assert session.reconstruction.object.locked == (-2.0, 0.0)
    ask(session, what="contrast", key="open", panel=9)
    assert session.contrast.panel == 11, "no such panel"


def test_a_picture_of_one_value_has_a_histogram() -> None:
    flat = prepare(RawPicture("obf", np.full((8, 8), 2.0, np.float32)), 1, Surroundings())
    assert histogram(flat)["range"] == [1.5, 2.5]
    gone = prepare(RawPicture("obf", np.full((8, 8), np.nan, np.float32)), 1, Surroundings())
    assert histogram(gone)["bins"] == []
