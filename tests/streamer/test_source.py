"""Native files: what is read, and one clear line for each possible error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from quick_first import quick_first
from shared_data import shared_data
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_array, open_source

DATA = np.arange(4 * 5 * 6 * 7, dtype="<u2").reshape(4, 5, 6, 7)


def native(path: Path, data: Any = DATA, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["data"] = data
        file.create_group("metadata").attrs.update(attributes)
    return path


def test_a_file_with_nothing_but_data(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = DATA
    with open_source(path) as source:
        assert source.header.scan.shape == (4, 5)
        assert source.header.detector_shape == (6, 7)
        assert source.header.series == "a"
        assert source.frame_count == 20
        assert source.received.all()
        assert "scan_shape is not given" in source.notes[0]
        np.testing.assert_array_equal(source.frames(np.array([19, 0, 1, 7])), DATA.reshape(20, 6, 7)[[19, 0, 1, 7]])
        got = np.concatenate([batch.frames for batch in source.batches(3)])
        np.testing.assert_array_equal(got, DATA.reshape(20, 6, 7))


def test_flyback_columns_are_part_of_the_acquisition(tmp_path: Path) -> None:
    for attributes in ({"flyback_frames": 1}, {"scan_shape": [4, 4], "flyback_frames": 1}, {"scan_shape": [4, 4]}):
        with open_source(native(tmp_path / "a.h5", **attributes)) as source:
            assert source.header.scan.shape == (4, 4)
            assert source.header.scan.flyback_frames == 1
            assert source.header.frames == 20


@pytest.mark.parametrize("told", ["said", "in the file"])
def test_a_field_of_view_has_the_shape_of_the_patterns(tmp_path: Path, told: str) -> None:
    """Even if nobody gave the shape, and in place of the step in the file."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.ones((4, 8, 6, 6), np.uint16)
        said = {"scan_step_A": 0.5} if told == "said" else {"field_of_view_A": 3.2}
        file.create_group("metadata").attrs.update(said)
    with open_source(tmp_path / "a.h5", {"field_of_view_A": 3.2} if told == "said" else {}) as source:
        assert source.header.scan.step_A == (0.4, 0.4)


def test_flat_files_need_their_scan_shape(tmp_path: Path) -> None:
    flat = DATA.reshape(20, 6, 7)
    with open_source(native(tmp_path / "a.h5", flat, scan_shape=[3, 3], repeats=2, skip_first=2)) as source:
        assert source.header.scan.frames == 20
        np.testing.assert_array_equal(source.frames(np.array([3, 4, 5])), flat[3:6])
    with open_source(native(tmp_path / "a.h5", flat)) as source:
        assert source.header.scan.shape is None


def test_frames_that_did_not_arrive_are_left_out(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    received = np.ones((4, 5), dtype=bool)
    received[1, 2:] = False
    with h5py.File(path, "a") as file:
        file["metadata/received"] = received
    with open_source(path) as source:
        assert np.concatenate([batch.index for batch in source.batches(4)]).tolist() == [*range(7), *range(10, 20)]
        assert "17 of 20 frames arrived: the scan ended early, or frames were lost" in source.notes[-1]


def test_metadata_and_arrays(tmp_path: Path) -> None:
    path = native(
        tmp_path / "a.h5", energy_eV=80e3, defocus_A=50.0, scan_step_A=[0.4, 0.5], beam_center_px=[2.5, 3.5], uid="u-1"
    )
    with h5py.File(path, "a") as file:
        file["metadata/bad_pixel_mask"] = np.eye(6, 7, dtype=np.uint8)
    with open_source(path, {"energy_eV": 60e3, "scan.pattern": "snake"}) as source:
        assert source.header.uid == "u-1"
        assert source.header.optics.energy_eV == 60e3
        assert source.header.optics.aberrations == {"C10": -50.0}
        assert source.header.scan.pattern == "snake"
        assert source.header.detector.beam_center_px == (2.5, 3.5)
        assert source.header.arrays["bad_pixel_mask"].dtype == bool


def external_link(path: Path) -> None:
    native(path.with_name("other.h5"))
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("other.h5", "/data")


def soft_link_outside(path: Path) -> None:
    native(path.with_name("other.h5"))
    with h5py.File(path, "w") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
        file["data"] = h5py.SoftLink("/elsewhere")


def external_storage(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2, 2, 4, 4), "u1", external=[("/etc/hostname", 0, 64)])


def virtual(path: Path) -> None:
    native(path.with_name("other.h5"))
    layout = h5py.VirtualLayout((4, 5, 6, 7), "<u2")
    layout[...] = h5py.VirtualSource(str(path.with_name("other.h5")), "data", (4, 5, 6, 7))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def wrong_mask(path: Path) -> None:
    native(path)
    with h5py.File(path, "a") as file:
        file["metadata/bad_pixel_mask"] = np.zeros((3, 3), dtype=bool)


def wrong_received(path: Path) -> None:
    native(path)
    with h5py.File(path, "a") as file:
        file["metadata/received"] = np.zeros(3, dtype=bool)


def results(path: Path, scan_file: str | int | None = None) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("calibration")
        if scan_file is not None:
            file.create_group("settings").attrs["scan_file"] = scan_file


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (results, "holds results and no patterns"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b"hello, I am text"), "is not an HDF5 file"),
        (lambda path: h5py.File(path, "w").close(), "no data set /data"),
        (lambda path: native(path, np.zeros((5, 5), "u2")), "/data is 5 x 5"),
        (lambda path: native(path, np.zeros((0, 5, 4, 4), "u2")), "/data is 0 x 5 x 4 x 4"),
        (lambda path: native(path, np.zeros((2, 2, 4, 4), "c8")), "type complex64"),
        (lambda path: native(path, np.zeros((2, 2, 4, 4), "S3")), "type |S3"),
        (lambda path: native(path, scan_shape=[0, 5]), "impossible scan shape 0 x 5"),
        (lambda path: native(path, scan_shape=[7, 9]), "impossible scan_shape 7 x 9"),
        (lambda path: native(path, DATA.reshape(20, 6, 7), scan_shape=[5, 5]), "impossible scan_shape 5 x 5"),
        (lambda path: native(path, scan_shape="wide"), "scan"),
        (lambda path: native(path, energy_eV=-1.0), "energy_eV = -1 eV is impossible"),
        (lambda path: native(path, detector_transform="twist"), "unknown detector transform"),
        (external_link, "external link"),
        (soft_link_outside, "link to another file"),
        (external_storage, "external storage"),
        (virtual, "virtual data set"),
        (wrong_mask, "bad_pixel_mask has shape (3, 3)"),
        (wrong_received, "received has shape (3,)"),
    ],
)
def test_every_fault_is_one_line_with_file_and_remedy(tmp_path: Path, make: Callable[[Path], Any], says: str) -> None:
    path = tmp_path / "faulty.h5"
    make(path)
    with pytest.raises(InputFileError) as caught, open_source(path):
        pass
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("told", "named"),
    [("mos2.h5", "mos2.h5"), (5, "the file they were made from"), (None, "the file they were made from")],
)
def test_of_a_results_file_the_scan_is_named(tmp_path: Path, told: str | int | None, named: str) -> None:
    results(tmp_path / "results.h5", told)
    with pytest.raises(InputFileError) as caught, open_source(tmp_path / "results.h5"):
        pass
    assert caught.value.hint.startswith(f"give the scan: {named}")


@pytest.mark.data
@pytest.mark.parametrize(
    "name", quick_first(["tiny_mos2_80kV_focus", "ws2_messy_60kV_lowdose", "rotavirus_300kV_cryo_raw256"])
)
def test_the_shared_data_sets_are_read_as_h5py_reads_them(name: str) -> None:
    path = shared_data(name)
    with h5py.File(path) as file:
        wanted = file["data"][...]
    with open_source(path) as source:
        got = np.concatenate([batch.frames for batch in source.batches(100)])
        assert source.header.scan.shape == wanted.shape[:2]
    np.testing.assert_array_equal(got, wanted.reshape(got.shape))


def test_an_array_is_a_scan_as_a_file_is() -> None:
    frames = np.arange(6 * 4 * 4, dtype=np.uint16).reshape(2, 3, 4, 4)
    with open_array(frames, {"energy_eV": 80e3}) as source:
        assert (source.header.scan.shape, source.header.optics.energy_eV, source.stored_uid) == ((2, 3), 80e3, "")
        np.testing.assert_array_equal(source.frames(np.array([5, 0])), frames.reshape(6, 4, 4)[[5, 0]])
        assert source.frames(np.array([], int)).shape == (0, 4, 4)
        assert not source.stores_bslz4
        with pytest.raises(InputFileError, match="holds no bslz4 patterns"):
            source.stored_pattern(0)
    with pytest.raises(InputFileError), open_array(frames[0, 0]):
        pass


@pytest.mark.parametrize(
    "values",
    [
        {"scan_shape": (3, 8)},
        {"scan.shape": (6, 4), "scan_step_A": 0.4},
        {"scan_shape": (3, 5), "skip_first": 1, "flyback_frames": 2},
    ],
)
def test_a_shape_that_somebody_gives_wins_over_that_of_the_data_set(tmp_path: Path, values: dict[str, Any]) -> None:
    """Regression: a scan wrongly announced as 4 x 6 could be neither refined nor read, whatever shape was given."""
    frames = np.arange(24 * 4 * 4, dtype=np.uint16).reshape(4, 6, 4, 4)
    path = native(tmp_path / "scan.h5", frames, scan_shape=[4, 6])
    shape = values.get("scan_shape", values.get("scan.shape"))
    for opened in (open_source(path, values), open_array(frames, values)):
        with opened as source:
            assert source.header.scan.shape == shape
            assert "frames stored as 4 x 6 are read one after the other" in " ".join(source.notes)
            np.testing.assert_array_equal(source.frames(np.arange(24)), frames.reshape(24, 4, 4))
    with (
        pytest.raises(InputFileError, match=r"impossible scan_shape 5 x 5 .* for 4 x 6"),
        open_source(path, {"scan_shape": (5, 5)}),
    ):
        pass
    with (
        pytest.raises(InputFileError, match=r"impossible scan_shape 3 x 8 .* for 4 x 6"),
        open_source(native(tmp_path / "contradicts.h5", frames, scan_shape=[3, 8]), {"scan_step_A": 0.4}),
    ):
        pass


@pytest.mark.parametrize("values", [{"flyback_frames": 3}, {"skip_first": 1}, {"repeats": 2}])
def test_a_grid_of_patterns_leaves_no_room_for_others(values: dict[str, int]) -> None:
    frames = np.zeros((2, 3, 4, 4), np.uint16)
    with pytest.raises(InputFileError, match="impossible for 2 x 3 patterns"), open_array(frames, values):
        pass


def test_batches_pass_over_what_did_not_arrive(tmp_path: Path) -> None:
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header), slice(5, 30))
    with open_source(path) as source:
        assert [batch.index.tolist() for batch in source.batches(10)] == [
            list(range(5)),
            list(range(30, 40)),
            [40, 41],
        ]


def test_a_digest_knows_the_patterns_whatever_holds_them(tmp_path: Path) -> None:
    """The same for a grid, a list and the other byte order; different for another count, size, type or pattern."""
    frames = np.arange(6 * 7 * 4 * 5, dtype="<u2").reshape(6, 7, 4, 5)
    changed = frames.copy()
    changed[0, 0, 3, 2] += 1

    def digest(array: Any) -> str:
        with open_array(array, {"scan_shape": (6, 7)} if array.ndim == 3 else None) as source:
            return source.digest()

    one = digest(frames)
    assert digest(frames.reshape(42, 4, 5)) == digest(frames.astype(">u2")) == one
    with open_source(native(tmp_path / "scan.h5", frames)) as source:
        assert source.digest() == one
    others = {digest(other) for other in (frames[:5], frames.reshape(6, 7, 5, 4), frames.astype("<u4"), changed)}
    assert len(others | {one}) == 5


def test_a_digest_takes_few_patterns_of_those_that_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_array(np.ones((20, 20, 4, 4), np.uint8)) as source:
        read: list[int] = []
        monkeypatch.setattr(type(source), "frames", lambda self, index: read.extend(index) or np.ones((1, 4, 4), "u1"))
        replace(source, received=np.arange(400) >= 100).digest()
    assert (len(read), read[0], read[-1]) == (16, 100, 399)


def test_what_is_to_be_checked_is_told_apart_from_what_is_only_said(tmp_path: Path) -> None:
    with open_source(native(tmp_path / "a.h5"), {"scan_shape": (5, 4)}) as source:
        assert source.doubts == ("frames stored as 4 x 5 are read one after the other, for 5 x 4 points: check it",)
    with open_source(native(tmp_path / "b.h5")) as source:
        assert source.notes and not source.doubts


@pytest.mark.parametrize("shape", [(20, 4, 6), (4, 5, 4, 6)])
def test_frames_beyond_the_scan_are_counted(shape: tuple[int, ...]) -> None:
    """A scan of one column too few looks sheared; the frames that are left over are the only sign of the mistake."""
    with open_array(np.zeros(shape, np.uint16), {"scan_shape": (6, 3)}) as source:
        assert (
            source.doubts[-1]
            == "the scan has 18 frames, the file has 20; the last 2 belong to none of its points: check it"
        )
    with open_array(np.zeros((20, 4, 6), np.uint16), {"scan_shape": (4, 5)}) as source:
        assert not source.doubts
