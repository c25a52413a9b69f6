"""Objects that start from an image covering the scanned field, and from random phases."""

import numpy as np
import pytest

from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.start.start_object import with_start
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.scan import rotation_matrix

VALUES = {"window_px": 24, "probe_modes": 1, "non_negative_phase": False}
ROTATION_DEG, STEP_A, POINTS = 25.0, 0.8, 12  # of the simulated scan


def started(dataset, **values):
    preset = Preset.from_mapping({**VALUES, **values})
    problem = with_start(prepare(dataset, preset, None), preset.start, None)
    return problem, problem.layout.to_complex(problem.start)[0]


def ramp(pixels):
    """Phase (pixels, pixels) rising by 0.01 rad a scan step down, 0.03 across."""
    at = np.linspace(0, POINTS - 1, pixels)
    return 0.01 * at[:, None] + 0.03 * at[None, :]


@pytest.mark.parametrize("pixels", [5, 12, 31])
def test_an_image_of_any_size_lies_on_the_scan(simulated, tmp_path, pixels):
    """A ramp along the rotated axes of the scan is recovered at every object pixel between its corners."""
    np.save(tmp_path / "phase.npy", ramp(pixels))
    problem, found = started(simulated.dataset, phase_only_obj=True, start_phase_image=str(tmp_path / "phase.npy"))
    y, x = np.meshgrid(*(np.arange(n) for n in problem.grid.shape), indexing="ij")
    place = (np.stack([y, x], -1) * problem.grid.pixel_A + problem.grid.origin_A) @ rotation_matrix(ROTATION_DEG)
    row, column = np.moveaxis(place / STEP_A, -1, 0)
    inside = (row > 0) & (row < POINTS - 1) & (column > 0) & (column < POINTS - 1)
    expected = 0.01 * row + 0.03 * column
    np.testing.assert_allclose(np.angle(found[0, 0])[inside], expected[inside], atol=1e-5)  # single precision


def test_slices_share_the_phase_and_the_modulus(simulated, tmp_path):
    np.save(tmp_path / "phase.npy", np.full((3, 3), 0.4))
    np.save(tmp_path / "modulus.npy", np.full((4, 2), 0.81))
    files = {f"start_{n}_image": str(tmp_path / f"{m}.npy") for n, m in (("phase", "phase"), ("amplitude", "modulus"))}
    _, found = started(simulated.dataset, phase_only_obj=False, num_slices=2, total_thickness_A=20.0, **files)
    np.testing.assert_allclose(found, 0.9 * np.exp(0.2j) * np.ones_like(found), atol=1e-5)


def test_random_phases_fill_the_range_and_differ_between_modes(simulated):
    _, found = started(simulated.dataset, phase_only_obj=True, obj_modes=2, start_phase_noise_rad=0.5)
    phase = np.angle(found)
    assert 0 <= phase.min() < 0.01
    assert 0.49 < phase.max() <= 0.5
    assert abs(np.corrcoef(phase[0].ravel(), phase[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("name", "image", "said"),
    [
        ("start_phase_image", np.ones(4), r"is float64 \(4,\)"),
        ("start_phase_image", np.full((3, 3), np.nan), "not numbers"),
        ("start_amplitude_image", np.zeros((3, 3)), "modulus at or below 0"),
    ],
)
def test_what_is_no_image_is_said(simulated, tmp_path, name, image, said):
    np.save(tmp_path / "image.npy", image)
    with pytest.raises(MetadataError, match=said):
        started(simulated.dataset, phase_only_obj=False, **{name: str(tmp_path / "image.npy")})
    with pytest.raises(MetadataError, match="exclude"):
        Preset.from_mapping({name: "image.npy", "start_object": "co.npy"})
