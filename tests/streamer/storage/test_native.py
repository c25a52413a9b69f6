"""Native files: places of patterns, encoded patterns passed on unchanged, and lists that do not fit refused."""

import h5py
import hdf5plugin
import numpy as np
import pytest
from stream_tools import compressed

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source
from ptylive.streamer.storage.native import open_native
from ptylive.streamer.storage.vectors import load_basis, stored_bytes

FRAMES = np.random.default_rng(0).poisson(3, (2, 3, 8, 8)).astype("<u2")
CODED = {"chunks": (1, 1, 8, 8), **hdf5plugin.Bitshuffle(cname="lz4")}


def native(path, received=None, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=FRAMES, **options)
        if received is not None:
            file["metadata/received"] = received
    return path


def test_coded_patterns_are_handed_out_as_they_lie(tmp_path):
    with open_native(native(tmp_path / "a.h5", **CODED)) as file:
        assert [file.chunk(n) for n in range(6)] == [compressed(f) for f in FRAMES.reshape(6, 8, 8)]
    with open_native(native(tmp_path / "b.h5")) as file:
        assert file.chunk is None


def test_a_pattern_that_was_stored_uncompressed_is_not_taken_for_a_coded_one(tmp_path):
    """HDF5 skips a filter that fails, chunk by chunk."""
    with h5py.File(native(tmp_path / "a.h5", **CODED), "a") as file:
        file["data"].id.write_direct_chunk((1, 2, 0, 0), FRAMES[1, 2].tobytes(), filter_mask=1)
    with open_native(tmp_path / "a.h5") as file:
        file.chunk(4)
        with pytest.raises(InputFileError, match=r"frame \(1, 2\) was stored uncompressed"):
            file.chunk(5)
        np.testing.assert_array_equal(file.frames[1, 2], FRAMES[1, 2])


@pytest.mark.parametrize("shape", [(2, 3), (6,)])
def test_what_arrived_has_a_place_for_every_frame(tmp_path, shape):
    received = np.arange(6).reshape(shape) % 2 == 0
    with open_native(native(tmp_path / "a.h5", received)) as file:
        assert file.received.tolist() == [True, False] * 3


def test_a_list_for_another_scan_is_refused(tmp_path):
    path = native(tmp_path / "a.h5", np.ones((2, 2), bool))
    with pytest.raises(InputFileError, match=r"/metadata/received has shape \(2, 2\) for 6 frames"), open_native(path):
        pass


@pytest.mark.parametrize(("data", "words"), [(np.zeros((4, 4)), "/data is 4 x 4"), (np.float32(1), "a single number")])
def test_other_dimensions_are_refused(tmp_path, data, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = data
    with pytest.raises(InputFileError, match=words), open_native(tmp_path / "a.h5"):
        pass


def test_a_basis_without_a_scan_is_a_basis(tmp_path):
    masks = np.random.default_rng(1).random((3, 8, 8)).astype("<f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["basis/masks"] = masks
        file["basis"].attrs.update(kind="zernike", n_bright=2, n_dark=1)
    basis, found = load_basis(tmp_path / "a.h5")
    assert (basis.kind, basis.n_bright, basis.n_dark) == ("zernike", 2, 1)
    np.testing.assert_array_equal(found, masks)
    assert stored_bytes(tmp_path / "a.h5") == masks.nbytes


def test_what_frames_take_on_the_disk(tmp_path):
    assert stored_bytes(native(tmp_path / "a.h5")) == FRAMES.nbytes
    assert 0 < stored_bytes(native(tmp_path / "b.h5", **CODED)) < FRAMES.nbytes


def test_names_that_are_almost_known_and_data_sets_are_told_of(tmp_path):
    """Regression: a misspelt step was silently ignored, and so was an energy stored as a data set."""
    path = native(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["metadata/energy_eV"] = 80e3
        file["metadata"].attrs.update({"scan_stepA": 0.5, "defocus": 100.0, "sample": "MoS2", "repeats": 1})
    with open_native(path) as file:
        assert file.notes == (
            "the attribute defocus of /metadata is unknown and ignored; defocus_A is known: check it",
            "the attribute scan_stepA of /metadata is unknown and ignored; scan_step_A is known: check it",
            "/metadata/energy_eV is a data set and ignored; only attributes of /metadata are read: check it",
        )


def test_a_file_whose_patterns_have_another_name_says_which_arrays_it_holds(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["exchange/patterns"], file["exchange/dark"] = FRAMES, FRAMES
        file["exchange/x"] = np.zeros(3)
    with pytest.raises(InputFileError, match=r"/exchange/patterns \(2 x 3 x 8 x 8\)") as caught, open_native(path):
        pass
    assert 'file["dp"] = file["exchange/dark"]' in caught.value.hint
    with h5py.File(path, "r+") as file:
        file["dp"] = file["exchange/patterns"]
    with open_source(path) as source:
        assert source.header.scan.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("metadata", 5, "/metadata is not a group"),
        ("metadata", np.zeros((3, 4)), "/metadata is not a group"),
        ("metadata/sent", 3, "/metadata/sent is not a group"),
        ("metadata", h5py.ExternalLink("b.h5", "/metadata"), "/metadata is a link to b.h5"),
    ],
)
def test_metadata_that_are_no_group_of_the_file_are_refused(tmp_path, name, value, said):
    """Regression: an internal error; and values were read from another file."""
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other.create_group("metadata").attrs["energy_eV"] = 80e3
    with h5py.File(native(tmp_path / "a.h5"), "a") as file:
        file[name] = value
    with pytest.raises(InputFileError, match=said) as caught, open_source(tmp_path / "a.h5"):
        pass
    assert "store the values as attributes of a group /metadata" in caught.value.hint


@pytest.mark.parametrize("name", ["metadata", "metadata/sent"])
def test_links_that_lead_round_in_a_circle_lead_nowhere(tmp_path, name):
    """Regression: a RuntimeError of HDF5, which names neither file nor field."""
    with h5py.File(native(tmp_path / "a.h5"), "a") as file:
        file[name] = h5py.SoftLink(f"/{name}")
    with open_source(tmp_path / "a.h5") as source:
        assert source.frame_count


def test_patterns_behind_a_link_that_leads_round_in_a_circle_are_missing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = h5py.SoftLink("/data")
    words = "has no data set /data: it is a link to /data, which is not in the file"
    with pytest.raises(InputFileError, match=words), open_source(tmp_path / "a.h5"):
        pass


def test_values_in_the_wrong_place_are_told_of(tmp_path):
    """Regression: attributes of the file or of its patterns were ignored without a word."""
    with h5py.File(native(tmp_path / "a.h5"), "a") as file:
        file.attrs.update({"energy_eV": 80e3, "author": "a microscopist"})
        file["data"].attrs.update({"scan_step_A": 0.4, "convergence_semiangle_mrad": 20.0})
        file.create_group("metadata").attrs["convergence_semiangle_mrad"] = 21.0
    with open_source(tmp_path / "a.h5") as source:
        assert source.doubts == (
            "the attribute energy_eV of the file is ignored; only those of the group /metadata are read: check it",
            "the attribute scan_step_A of /data is ignored; only those of the group /metadata are read: check it",
        )
