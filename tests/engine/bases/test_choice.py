"""The basis that a user names, and its masks."""

from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.bases.choice import MOST_MASKS, USUAL, BasisChoice, make_basis, parse_basis
from ptylive.engine.bases.field import DetectorField
from ptylive.schema import MetadataError

GOOD = np.ones((24, 24), dtype=bool)
GOOD[12, 13] = GOOD[2, 2] = False
FIELD = DetectorField((11.5, 11.5), 6.0, GOOD)
PATTERNS = np.random.default_rng(0).poisson(5.0, (40, 24, 24))


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("pixels", BasisChoice("pixels")),
        *((kind, BasisChoice(kind, *numbers)) for kind, numbers in USUAL.items()),
        ("zernike:28+0", BasisChoice("zernike", 28, 0)),
        ("binning:45+2:sqrt", BasisChoice("binning", 45, 2, square_root=True)),
        ("data:sqrt", BasisChoice("data", *USUAL["data"], square_root=True)),
        ("masks.h5", BasisChoice("file", file=Path("masks.h5"))),
    ],
)
def test_a_basis_is_named(text, choice):
    assert parse_basis(text) == choice


def test_a_file_of_any_name_is_one(tmp_path):
    (tmp_path / "masks").touch()
    assert parse_basis(str(tmp_path / "masks")).file == tmp_path / "masks"


def test_kinds_are_raw_or_learnt():
    assert parse_basis("pixels").is_raw and not parse_basis("data").is_raw
    assert [parse_basis(kind).is_learnt for kind in USUAL] == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fourier", "unknown basis 'fourier'"),
        ("zernike:28", "unknown basis"),
        ("zernike:28+1:root", "unknown basis"),
        ("zernike:0+1", "impossible"),
        (f"zernike:{MOST_MASKS + 1}+1", "impossible"),
        (f"zernike:1+{MOST_MASKS + 1}", "impossible"),
    ],
)
def test_other_names_are_refused(text, words):
    with pytest.raises(MetadataError, match=words):
        parse_basis(text)


@pytest.mark.parametrize("text", ["zernike:10+6", "binning:9+8", "data:10+4", "pca:6+3", "zernike:10+1", "data:4+0"])
def test_masks_are_orthonormal_each_in_its_field_and_blind_on_bad_pixels(text):
    choice = parse_basis(text)
    basis = make_basis(choice, FIELD, PATTERNS if choice.is_learnt else None)
    bright, dark = basis.masks[: basis.n_bright], basis.masks[basis.n_bright :]
    flat = basis.masks.reshape(len(basis.masks), -1).astype(float)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-5)  # masks are in single precision
    assert not bright[:, ~FIELD.bright].any() and not dark[:, ~FIELD.dark].any()
    assert len(dark) == choice.n_dark or choice.kind == "binning"


def test_a_single_mask_of_the_dark_field_is_its_sum():
    (mask,) = make_basis(parse_basis("data:3+1"), FIELD, PATTERNS).masks[3:]
    np.testing.assert_allclose(mask[FIELD.dark], 1 / np.sqrt(FIELD.dark.sum()), rtol=1e-6)


def test_the_plane_comes_first_unless_roots_are_projected():
    """Sum and centre of mass of the bright field are then exact."""
    plane = np.stack([FIELD.bright, FIELD.grid.k_row * FIELD.bright, FIELD.grid.k_col * FIELD.bright]).reshape(3, -1)
    for text, exact in (("data:10+1", True), ("data:10+1:sqrt", False)):
        basis = make_basis(parse_basis(text), FIELD, PATTERNS)
        bright = basis.masks[: basis.n_bright].reshape(basis.n_bright, -1).astype(float)
        left = plane - plane @ bright.T @ bright
        assert bool(np.abs(left).max() < 1e-4) is exact


def test_what_cannot_be_made_says_why():
    with pytest.raises(MetadataError, match=r"masks for .* pixels of the bright field"):
        make_basis(parse_basis("zernike:200+1"), FIELD)
    with pytest.raises(MetadataError, match=r"masks for .* pixels of the dark field"):
        make_basis(parse_basis("zernike:2+600"), FIELD)
    for patterns in (None, PATTERNS[:0]):
        with pytest.raises(MetadataError, match="basis pca is learnt from patterns"):
            make_basis(parse_basis("pca:3+1"), FIELD, patterns)
