"""Trotters of a recording: the numbers that the server sends to the page, drawn and stored."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

import ptylive
from ptylive.application.analysis.trotters import checked
from ptylive.dashboard.pictures.trotters import TrotterPictures
from ptylive.schema import MetadataError
from ptylive.server.commands.analysis_commands import trotter_to_plain


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("trotters") / "scan.h5"
    return ptylive.simulate(
        path, seed=4, specimen="monolayer", energy_eV=80e3, convergence_semiangle_mrad=25, scan_shape=(24, 24),
        scan_step_A=(0.5, 0.5), detector_shape=48, defocus_A=60, electrons_per_pattern=1e5,
    )  # fmt: skip


def test_the_aberrations_wind_the_phase_and_their_removal_flattens_it(scan, tmp_path):
    found = scan.trotters()
    (told,) = found.to_plain()
    assert told["flat_after"] > 0.8 > told["flat_before"]
    assert scan.trotters(found.found[0].q_invA).to_plain() == [told], "the strongest frequency, given"
    found.write_arrays(tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5") as file:
        group = file["trotters/trotter1"]
        np.testing.assert_array_equal(group["before"][()], found.found[0].values)
        np.testing.assert_array_equal(group["after"][()], found.found[0].compensated)
        assert group.attrs["q_invA"].tolist() == list(found.found[0].q_invA)
        assert file.attrs["energy_eV"] == 80e3


def test_the_page_draws_the_same(scan):
    found = scan.trotters()
    page = TrotterPictures.of(trotter_to_plain(found.found[0]), 1)
    area = found.found[0].area
    np.testing.assert_allclose(page.before.data, np.angle(found.found[0].values), atol=1e-6)
    assert page.after.visited.tolist() == ((area > 0) & (area != 3)).tolist()


def test_a_row_for_each_frequency(scan):
    row, col = scan.trotters().found[0].q_invA
    several = scan.trotters((row, col), None, (-row, -col))
    assert len(several.to_plain()) == 3
    with Image.open(io.BytesIO(several.picture())) as page:
        assert page.width > 3 * 480 and page.height > 3 * 480
    assert "data:image/png" in several._repr_html_()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["1"], "'1' is not a frequency"),
        (["a,b"], "is not a frequency"),
        ([(1.0, np.nan)], "is not a frequency"),
        ([], "0 frequencies"),
    ],
)
def test_what_is_no_frequency_is_refused(given, words):
    with pytest.raises(MetadataError, match=words):
        checked(given)


def test_the_mean_has_no_trotter(scan):
    with pytest.raises(MetadataError, match="is zero, the mean"):
        scan.trotters((0.001, 0))


def test_a_frequency_may_be_an_array():
    assert checked([np.array([0.25, -0.5]), "strongest", None]) == ((0.25, -0.5), None, None)
