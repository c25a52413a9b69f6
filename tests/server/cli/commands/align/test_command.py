"""``ptylive align``."""

import pytest
from PIL import Image
from running import last_json, ptylive_here

import ptylive


@pytest.fixture(scope="module")
def defocused(tmp_path_factory):
    path = tmp_path_factory.mktemp("align") / "scan.h5"
    ptylive.simulate(
        path, seed=4, specimen="atoms", coverage=0.2, energy_eV=200e3, convergence_semiangle_mrad=20,
        scan_shape=(16, 16), scan_step_A=(1.2, 1.2), defocus_A=200, rotation_deg=-20,
    )  # fmt: skip
    return path


def test_shifts_are_told_drawn_and_given_to_other_commands(defocused, tmp_path):
    picture = tmp_path / "shifts.png"
    done = last_json(ptylive_here("align", defocused, picture, "--json"))
    assert done["aberrations"]["C10"]["value_A"] == pytest.approx(-200, abs=20)
    assert done["rotation_deg"] == -20, "given, so forced"
    with Image.open(picture) as shown:
        assert shown.width > 2 * 480
    words = done["set"].split()
    assert words[::2] == ["--set"] * 4
    again = ptylive_here("align", defocused, *words, "--json")
    assert last_json(again)["aberrations"]["C10"]["value_A"] == pytest.approx(-200, abs=20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--order", 5), "order=5 is not possible: give 1, 2 or 3"),
        (("--reference", "center"), "did you mean 'centre'?"),
        (("--bin", 0), "bin_px=0.0 is not a valid bin size"),
        (("shifts.jpg",), "shifts.jpg is not the name of a picture"),
    ],
)
def test_what_cannot_be_is_one_line(defocused, options, words):
    refused = ptylive_here("align", defocused, *options)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
