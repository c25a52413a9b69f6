"""What the browser receives for an array."""

import numpy as np

from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare


def test_other_limits_give_other_indices() -> None:
    picture = prepare(RawPicture("bf", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)), 1, Surroundings())
    assert picture.indices(picture.limits) is picture.indexed
    assert (picture.indices((10.0, 11.0)) == 1).all()
