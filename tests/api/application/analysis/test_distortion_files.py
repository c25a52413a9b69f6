"""Distortion measured from one recording for use with others: powder rings in a file, given in place of numbers."""

import h5py
import numpy as np
import pytest

from ptylive.application.analysis.distortion_files import distortion_of_text
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.pattern.distortion import distortion_of, true_places
from ptylive.server.cli.values import parse_assignments
from ptylive.server.process.config_file import load_config

SHAPE = (96, 96)
ELLIPSE = (0.015, -0.01, -0.01, -0.015)


@pytest.fixture(scope="module")
def powder(tmp_path_factory):
    """64 patterns of three rings, distorted by an ellipse."""
    path = tmp_path_factory.mktemp("powder") / "powder.h5"
    places = np.argwhere(np.ones(SHAPE))[:, None] + np.stack(np.meshgrid([-0.25, 0.25], [-0.25, 0.25]), -1).reshape(
        -1, 2
    )
    away = true_places(places.reshape(-1, 2), distortion_of(ELLIPSE), SHAPE) - (46.0, 49.0)
    radius = np.hypot(*away.T).reshape(-1, 4)
    mean = sum(np.exp(-((radius - r) ** 2) / 4).mean(axis=1) for r in (15.0, 24.0, 33.0)).reshape(SHAPE)
    frames = np.random.default_rng(4).poisson(8 * mean + 0.3, (64, *SHAPE))
    with h5py.File(path, "w") as file:
        file["data"] = frames.astype(np.uint16)
    return path


def test_rings_are_measured_and_taken_like_numbers(powder):
    numbers = parse_assignments([f"distortion=rings:{powder}"])["distortion"]
    # about 8 * 64 counts per pixel on rings of 90 to 200 px circumference: 0.01 px of 33
    assert numbers[:4] == pytest.approx(ELLIPSE, abs=1.5e-3)
    assert parse_assignments([f"detector.distortion=rings:{powder}"]) == {"detector.distortion": numbers}
    assert parse_assignments(["distortion=0.01,0,0,-0.01"])["distortion"] == [0.01, 0, 0, -0.01]


def test_a_server_takes_them_from_its_configuration(powder, tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text(f"[detector]\ndistortion = 'rings:{powder}'\n")
    found = load_config(path, {}, {}).distortion
    assert found == pytest.approx(distortion_of_text(f"rings:{powder}"))


def test_one_line_for_what_shows_none(powder, tmp_path):
    with pytest.raises(InputFileError, match=r"nowhere\.h5"):
        parse_assignments([f"distortion=rings:{tmp_path / 'nowhere.h5'}"])
    with pytest.raises(MetadataError, match="no lattice of spots is visible"):
        distortion_of_text(f"square:{powder}")
    path = tmp_path / "even.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(1).poisson(20, (30, 32, 32)).astype(np.uint16)
    with pytest.raises(MetadataError, match="no rings are visible"):
        distortion_of_text(f"rings:{path}")
