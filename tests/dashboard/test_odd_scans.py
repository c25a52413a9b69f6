"""Scans of one point, one row, one column, constant, saturated, empty or NaN: pictures, curves and exports."""

import warnings

import numpy as np
import pytest
from combinations import every_two
from quick_first import quick_first

from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.panels.profile import along_line, around
from ptylive.dashboard.pictures import FFT, OVERWRITING, RawPicture, Surroundings, prepare
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.snapshot import draw, png

SHAPES = ((1, 1), (1, 7), (7, 1), (1, 700), (700, 1))
FILLS = {
    "zero": 0.0,
    "constant": 3.0,
    "saturated": float(2**32 - 1),
    "nan": float("nan"),
    "inf": float("inf"),
    "tiny": 1e-45,
}


def scan(fill: float, shape: tuple[int, int], *, dead_row: bool) -> np.ndarray:
    data = np.full(shape, fill, dtype=np.float32)
    if dead_row:
        data[-1] = np.nan
        data.flat[0] = 1.0
    return data


@pytest.fixture(scope="module")
def figure() -> PictureFigure:
    return PictureFigure("odd", rings=True)


@pytest.mark.parametrize(
    ("dead_row", "shape", "fill"), quick_first(every_two([False, True], SHAPES, list(FILLS)), 5), ids=str
)
def test_an_odd_scan_is_shown(figure: PictureFigure, fill: str, shape: tuple[int, int], dead_row: bool) -> None:
    data = scan(FILLS[fill], shape, dead_row=dead_row)
    coverage = np.zeros(shape, dtype=bool)
    coverage.flat[0] = True
    for around_it in (
        Surroundings(),
        Surroundings(coverage, shape, (0.5, 0.5), 12.0, 0.6),
        Surroundings(~coverage, shape, None),
    ):
        raw = RawPicture("bf", data, "counts")
        wanted = {"bf": (raw,), f"bf{FFT}": (raw,), f"bf{OVERWRITING}": (raw,), "pattern": (raw,)}
        wanted |= {"pattern_log": (raw,), "object": (raw,), "dpc": (raw, raw)}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name, raws in wanted.items():
                picture = prepare(raws[0], 1, around_it, wanted=name, more=raws[1:])
                assert np.isfinite(picture.limits).all()
                assert picture.limits[1] > picture.limits[0]
                figure.forget()
                figure.shown.number = figure._number
                assert figure.offer(picture)
                figure.measure()
                if not picture.wheel:
                    distance, value = along_line(picture, (0.0, 0.0), (3.0, 3.0))
                    assert np.isfinite(distance).all()
                    assert np.isfinite(list(around(value).values())).all()
            shown = draw(data, ColourMap.GRAY, visited=coverage, sampling_A=(0.5, 0.5))
            assert png(shown).startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1, 1), (2, 1, 5)], ids=str)
def test_an_odd_probe_is_shown(shape: tuple[int, ...]) -> None:
    for fill in (0.0, 1.0, float("nan")):
        picture = prepare(RawPicture("probe", np.full(shape, fill, np.complex64)), 1, Surroundings(), wanted="probe")
        assert picture.indexed.size > 0
