"""Scans for tests of what is measured before a refinement."""

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.schema import Calibration
from ptylive.schema.scan import Scan


@pytest.fixture
def scanned():
    """Make a data set of empty patterns with the given scan pattern, rotation and shape; steps of 0.5 and 0.4 Å."""

    def scan_of(pattern="raster", rotation=30.0, shape=(20, 24)):
        scan = Scan(shape=shape, step_A=(0.5, 0.4), pattern=pattern, rotation_deg=rotation)
        point = scan.point_of(np.arange(shape[0] * shape[1]))
        patterns = np.zeros((len(point), 2, 2), np.uint8)
        positions = scan.positions_A(rotation)[point]
        return Dataset(patterns, point, positions, np.zeros((2, 2), bool), np.ones(2), shape, Calibration())

    return scan_of
