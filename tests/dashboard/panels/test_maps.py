"""What stands beside the colour bar of a map."""

import numpy as np

from ptylive.dashboard.client.feed import raw_picture
from ptylive.dashboard.panels import maps
from ptylive.dashboard.pictures import Picture, Surroundings, prepare


def picture(**more: object) -> Picture:
    data = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    plain = {"shape": [8, 8], "dtype": "<f4", "data": data.tobytes(), "units": "rad", **more}
    return prepare(raw_picture("obf", plain), 1, Surroundings())


def test_the_information_limit_and_what_more_dose_would_bring() -> None:
    told = picture(information_limits=[[1.0, 1.07, 0.02, False], [2.0, 0.98, 0.04, True], [4.0, 0.9, 0.5, 0]])
    assert (maps._units(told), maps._limit(told)) == ("rad", "1.07 Å")
    assert maps._about_units(told).splitlines() == [
        "unit",
        "information limit: 1.07 ± 0.020 Å",
        "with 2 × the dose: all that the step shows (0.980 Å)",
        "with 4 × the dose: cannot tell",
    ]


def test_where_it_cannot_be_told_nothing_is() -> None:
    assert maps._limit(picture()) == ""
    doubtful = picture(deviation=0.0123, information_limits=[[1.0, 1.07, 0.9, False]])
    assert (maps._units(doubtful), maps._limit(doubtful)) == ("rad ± 0.012", "")
    assert maps._about_units(doubtful).startswith("unit; ±: one standard deviation")
