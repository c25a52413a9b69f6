"""Films: as many pictures as were given, in their order; complete files or none."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from ptylive.pictures.film import check_film, is_own_film, write_film
from ptylive.schema import InputFileError, PtyliveError


def greys(count, shape=(13, 21)):
    return [np.full((*shape, 3), 40 * number, np.uint8) for number in range(count)]


def test_a_gif_has_the_pictures_in_their_order_and_waits_at_the_end(tmp_path):
    write_film(iter(greys(5)), tmp_path / "a.gif", 10.0)
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.size) == (5, (21, 13))
        found, times_ms = [], []
        for number in range(5):
            film.seek(number)
            found.append(film.convert("RGB").getpixel((3, 3))[0])
            times_ms.append(film.info["duration"])
    assert found == [0, 40, 80, 120, 160]
    assert times_ms == [100, 100, 100, 100, 2100]


def test_nothing_is_left_of_a_film_that_fails(tmp_path):
    def failing():
        yield from greys(2)
        raise RuntimeError("no third")

    for pictures, error in ((failing(), RuntimeError), (iter(()), ValueError)):
        with pytest.raises(error):
            write_film(pictures, tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A custom ffmpeg, as a shell script."""

    def make(text):
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        path = folder / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


def test_an_mp4_is_given_to_ffmpeg_in_even_pictures(tmp_path, program):
    program('for last; do :; done\necho "$@" > "$0.asked"\ncat > "$last"')
    write_film(iter(greys(3)), tmp_path / "a.mp4", 7.0)
    data = (tmp_path / "a.mp4").read_bytes()
    assert len(data) == 3 * 12 * 20 * 3
    assert [data[number * 12 * 20 * 3] for number in range(3)] == [0, 40, 80]
    asked = (tmp_path / "programs" / "ffmpeg.asked").read_text()
    assert "-s 20x12 -r 7 " in asked


def test_what_ffmpeg_says_is_told_and_nothing_is_left(tmp_path, program):
    program("cat > /dev/null; echo 'Unknown encoder' >&2; exit 1")
    with pytest.raises(PtyliveError, match="ffmpeg failed: Unknown encoder"):
        write_film(iter(greys(3)), tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


def test_films_that_cannot_be_made_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, words in (("a.avi", r"\.gif or \.mp4"), ("a.mp4", "no program ffmpeg")):
        with pytest.raises(InputFileError) as error:
            check_film(tmp_path / name)
        assert subprocess.list2cmdline([words.replace("\\", "")]).strip('"') in error.value.line()


def test_films_say_who_wrote_them(tmp_path, program):
    program('for last; do :; done\nprintf "0000ftypisom%90000s" > "$last"\necho "$@" >> "$last"')
    for name in ("a.gif", "a.mp4"):
        write_film(iter(greys(4)), tmp_path / name)
        assert is_own_film(tmp_path / name)
        Image.fromarray(greys(2)[1]).save(tmp_path / "other.gif", comment=b"mine")
    (tmp_path / "other.mp4").write_bytes(b"0000ftypisom" + bytes(9))
    (tmp_path / "other.txt").write_text("film by ptylive")
    assert not any(is_own_film(path) for path in tmp_path.glob("other.*"))
