"""One picture in flight: the next is sent only once the browser has shown the last."""

from dataclasses import replace

import numpy as np
from bokeh.document import Document
from bokeh.document.events import ColumnsPatchedEvent

from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import Picture, RawPicture, Surroundings, prepare


def picture(version: int, scale: float = 1.0) -> Picture:
    data = scale * np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    return prepare(RawPicture("bf", data), version, Surroundings(step_A=(1.0, 1.0)))


def test_nothing_is_sent_before_the_last_was_shown() -> None:
    figure = PictureFigure("f")
    assert figure.offer(picture(1))
    assert not figure.offer(picture(2))
    figure.shown.number = 1
    assert figure.offer(picture(3))
    assert figure.source.data["number"] == [2]


def test_a_picture_is_sent_once() -> None:
    figure = PictureFigure("f")
    first = picture(1)
    figure.offer(first)
    figure.shown.number = 1
    assert not figure.offer(first)


def test_small_changes_of_contrast_do_not_flicker() -> None:
    figure = PictureFigure("f")
    figure.offer(picture(1))
    limits = figure.limits
    figure.shown.number = 1
    figure.offer(picture(2, 1.001))
    assert figure.limits == limits
    figure.shown.number = 2
    figure.offer(picture(3, 1.5))
    assert figure.limits != limits


def test_only_changed_rows_travel() -> None:
    document = Document()
    figure = PictureFigure("f")
    document.add_root(figure.plot.figure)
    events: list[object] = []
    document.on_change(events.append)
    first = picture(1)
    figure.offer(first)
    figure.shown.number = 1
    second = changed_rows(first, slice(2, 4), version=2)
    figure.offer(second)
    (patched,) = [e for e in events if isinstance(e, ColumnsPatchedEvent)]
    (where, band) = patched.patches["image"][0]
    assert where == (0, slice(2, 4), slice(None))
    assert band.size == 16
    assert np.array_equal(figure.source.data["image"][0], second.indexed)
    assert not np.array_equal(first.indexed, second.indexed), "pictures are shared: a patch may not change them"
    figure.shown.number = 2
    figure.offer(changed_rows(second, slice(0, 8), version=3))
    assert len([e for e in events if isinstance(e, ColumnsPatchedEvent)]) == 1
    assert figure.source.data["number"] == [3]


def changed_rows(before: Picture, rows: slice, version: int) -> Picture:
    indexed = before.indexed.copy()
    indexed[rows] = 255 - indexed[rows] // 2
    return replace(before, version=version, indexed=indexed)


def test_a_locked_figure_keeps_its_limits_and_sends_again_when_released() -> None:
    figure = PictureFigure("f")
    figure.offer(picture(1))
    figure.shown.number = 1
    figure.locked = (0.0, 10.0)
    assert figure.offer(picture(1))
    assert figure.limits == (0.0, 10.0)
    assert figure.source.data["image"][0].max() < 40


def test_the_scale_bar_follows_the_zoom() -> None:
    figure = PictureFigure("f")
    figure.measure()
    assert figure.scale_bar is not None
    assert not figure.scale_bar.visible
    figure.offer(picture(1))
    figure.measure()
    assert figure.scale_bar.bar_length > figure.window.extent.box[2] / 10, "also before a browser has fitted it"
    figure.window.x_range.update(start=0, end=100)
    figure.measure()
    assert figure.scale_bar.label == "2 nm"
    figure.window.x_range.update(start=0, end=10)
    figure.measure()
    assert (figure.scale_bar.bar_length, figure.scale_bar.label) == (2.0, "2 Å")


def test_a_vanished_picture_leaves_the_unvisited_colour() -> None:
    figure = PictureFigure("f")
    assert not figure.clear()
    figure.offer(picture(1))
    figure.shown.number = 1
    assert figure.clear()
    assert figure.source.data["image"][0].tolist() == [[0]]


def test_the_extent_is_the_middle_that_matters() -> None:
    figure = PictureFigure("f")
    whole = picture(1)
    figure.offer(replace(whole, focus=(4.0, 2.0)))
    assert figure.window.extent.box == [2.5, 1.5, 2.0, 4.0]
    assert figure.source.data["dw"] == [8.0]


def test_a_panel_without_its_map_shows_the_whole_scan_unvisited() -> None:
    window = Window()
    shown, missing = PictureFigure("a", window), PictureFigure("b", window)
    shown.offer(picture(1))
    assert missing.clear()
    assert missing.source.data["dw"] == [8.0]
    missing.shown.number = 1
    assert not missing.clear()


def test_what_the_scan_has_not_seen_is_dimmed_and_shown_where_it_is_asked_for() -> None:
    figure = PictureFigure("f", dims=True)
    around = Surroundings(scan_shape=(4, 2), step_A=(1.0, 1.0))
    raw = RawPicture("object", np.zeros((8, 8), np.float32), "rad", (1.0, 1.0))
    figure.offer(prepare(raw, 1, around))
    assert figure.window.extent.box == [2.5, 1.5, 2.0, 4.0]
    assert figure.outside is not None
    ((edge, hole),) = figure.outside.data["ys"][0]
    assert (min(edge), max(edge)) == (-0.5, 7.5)
    assert (min(hole), max(hole)) == (1.5, 5.5)
    figure.window.entire = True
    figure.shown.number = 1
    figure.forget()
    figure.offer(prepare(raw, 1, around))
    assert figure.window.extent.box == [-0.5, -0.5, 8.0, 8.0]
    figure.shown.number = 2
    figure.clear()
    assert figure.outside.data["ys"] == []
