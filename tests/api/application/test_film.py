"""Films of a history: one picture per snapshot, with the same brightness scale in all of them."""

import io

import numpy as np
import pytest
from kept_histories import result, written
from PIL import Image

from ptylive.application import film as films
from ptylive.application.film import film, history_folder, short_film
from ptylive.engine.refine.run.history import History, read_snapshot, snapshots
from ptylive.schema import InputFileError, MetadataError


def opened(path):
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB"), dtype=int))
    return found


def test_the_object_grows_brighter_and_positions_are_shown_where_they_move(tmp_path):
    told = []
    film(written(tmp_path / "still"), tmp_path / "still.gif", on_progress=lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    pages = opened(tmp_path / "still.gif")
    middle = [page[250, 180].sum() for page in pages]  # of the first cell
    assert (np.diff(middle) > 100).all()  # a third of the way from black to white per step, summed over three colours
    film(written(tmp_path / "moving", epochs=2, moved=0.15), tmp_path / "moving.gif")
    assert opened(tmp_path / "moving.gif")[0].shape[1] > pages[0].shape[1]  # one cell more


def test_a_stage_of_another_window_and_losses_that_are_none(tmp_path):
    folder = tmp_path / "kept"
    History(folder).keep(0, lambda: result(0))
    History(folder).keep(1, lambda: result(1, loss=[np.nan]))
    History(folder).keep(2, lambda: result(2, window=24, loss=[-1.0, 0.0]))
    assert len(opened(film(folder, tmp_path / "a.gif"))) == 3


def test_a_long_history_is_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "MOST_PICTURES", 3)
    folder = written(tmp_path / "kept", 6)
    shown = []
    drawn = films._cells
    monkeypatch.setattr(films, "_cells", lambda one, *rest: (shown.append(one.epoch), drawn(one, *rest))[1])
    film(folder, tmp_path / "a.gif")
    assert shown == [0, 2, 5]


@pytest.mark.slow
def test_a_film_for_a_page_ends_where_it_is_asked_to_and_has_fewer_pictures_of_large_objects(tmp_path, monkeypatch):
    last = snapshots(written(tmp_path / "kept", 6))[4]
    gif, pictures, epoch = short_film(last)
    assert (pictures, epoch) == (5, 4)
    with Image.open(io.BytesIO(gif)) as shown:
        assert (shown.format, shown.n_frames) == ("GIF", 5)
    size = read_snapshot(last).object.size
    monkeypatch.setattr(films, "SHORT_PIXELS", 3 * size)
    assert short_film(last)[1] == 3
    monkeypatch.setattr(films, "SHORT_PIXELS", 2 * size - 1)
    with pytest.raises(MetadataError, match="takes too long to draw on this page") as refused:
        short_film(last)
    assert f"ptylive film {last.parent}" in refused.value.line()


def test_damaged_snapshots_and_wrong_places_are_one_line(tmp_path):
    folder = written(tmp_path / "kept", 2)
    snapshots(folder)[0].write_bytes(b"nothing")
    with pytest.raises(InputFileError, match="epoch_00000"):
        film(folder, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()
    assert read_snapshot(snapshots(folder)[1]).epoch == 1


def test_an_earlier_history_is_moved_aside_unless_it_goes_on(tmp_path):
    output, folder = tmp_path / "out.h5", tmp_path / "out.history"
    assert history_folder(output, resume=False) == folder and not folder.exists()
    for number in (1, 2):
        written(folder, number)
        assert history_folder(output, resume=True) == folder and folder.exists()
        assert history_folder(output, resume=False) == folder and not folder.exists()
        assert len(snapshots(tmp_path / f"out.history.{number}")) == number
    folder.write_text("")
    with pytest.raises(InputFileError, match="is not a folder"):
        history_folder(output, resume=False)
