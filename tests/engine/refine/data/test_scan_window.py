"""Patterns in the window: where each pixel is placed, what is masked, and that nothing is resampled."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine import memory
from ptylive.engine.memory import Scratch
from ptylive.engine.refine.data import scan_window
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.run.run import refine
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.patterns import PatternSettings


def test_pixels_land_at_their_frequency(simulated):
    dataset = simulated.dataset
    window = ScanWindow.of(dataset, 24)
    assert window.patterns[7][0, 0] == dataset.patterns[7][12, 12]  # centre (12.25, 11.6): integer part (12, 12)
    assert window.patterns[7][1, 2] == dataset.patterns[7][13, 14]
    assert window.patterns[7][-3, -5] == dataset.patterns[7][9, 7]
    assert window.k_row[0, 0] == pytest.approx(-0.25 * 0.1)
    assert window.k_col[0, 0] == pytest.approx(0.4 * 0.1)
    assert window.object_pixel_A == pytest.approx(1 / 2.4)


@pytest.mark.parametrize(
    ("recorded", "largest", "kept"),
    [
        ("bool", True, "uint8"),
        ("uint8", 255, "uint8"),
        ("uint16", 255, "uint8"),
        ("uint16", 256, "uint16"),
        (">u2", 65535, "uint16"),
        ("int32", 255, "uint8"),
        ("uint32", 65535, "uint16"),
        ("uint32", 65536, "float32"),
        ("float32", 3, "float32"),
        ("float64", 3, "float32"),
    ],
)
@pytest.mark.parametrize("where", [0, 70, 143])
def test_counts_are_kept_in_the_narrowest_type_that_holds_them_and_memory_is_transposed(
    simulated, monkeypatch, recorded, largest, kept, where
):
    monkeypatch.setattr(scan_window, "ROWS_AT_ONCE", 32)
    counts = np.minimum(simulated.dataset.patterns, 200)
    counts[where, 12, 13] = min(largest, np.iinfo(counts.dtype).max)
    counts = counts.astype(recorded)
    counts[where, 12, 13] = largest
    window = ScanWindow.of(replace(simulated.dataset, patterns=counts), 24)
    assert window.patterns.dtype == kept
    assert window.patterns.swapaxes(1, 2).flags.c_contiguous
    centred = np.roll(counts, (-12, -12), (1, 2))  # centre (12.25, 11.6)
    np.testing.assert_array_equal(window.patterns[:, window.measured], centred[:, window.measured])


@pytest.mark.parametrize("where", [0, 70, 143])
@pytest.mark.parametrize(("free", "in_file"), [((0, 0), True), ((4, 2), False), ((2, 1), True)])
def test_patterns_that_do_not_fit_lie_in_a_file(simulated, monkeypatch, tmp_path, where, free, in_file):
    """In a file from the start, or once larger counts need a wider type, the patterns are the same for the model.

    ``free`` is the free memory before and after the first array is made, in bytes for each pixel.
    """
    monkeypatch.setattr(scan_window, "ROWS_AT_ONCE", 32)
    counts = np.minimum(simulated.dataset.patterns, 200)
    counts[where, 12, 13] = 300
    dataset = replace(simulated.dataset, patterns=counts)
    expected = ScanWindow.of(dataset, 24)
    monkeypatch.setattr(memory, "ALWAYS_IN_MEMORY_BYTES", 0)
    left = list(free)
    monkeypatch.setattr(memory, "available_bytes", lambda: 144 * 24 * 24 * (left.pop(0) if len(left) > 1 else left[0]))
    made = Scratch.zeros
    files = []

    def zeros(self, shape, dtype, what):
        found = made(Scratch(tmp_path), shape, dtype, what)
        files.append(found.dtype.name)
        return found

    monkeypatch.setattr(Scratch, "zeros", zeros)
    found = ScanWindow.of(dataset, 24)
    np.testing.assert_array_equal(found.patterns, expected.patterns)
    assert found.patterns.dtype == np.uint16
    assert type(found.patterns) is np.ndarray and found.patterns.flags.writeable
    assert found.patterns.swapaxes(1, 2).flags.c_contiguous
    assert bool(files) == in_file
    if in_file:
        assert files[-1] == "uint16"
    assert list(tmp_path.iterdir()) == []


def test_bad_and_unmeasured_pixels_are_masked(simulated):
    window = ScanWindow.of(simulated.dataset, 32)
    assert window.measured.sum() == 24 * 24 - 1
    assert not window.measured[3 - 12, 5 - 12]
    assert not window.patterns[:, ~window.measured].any()


def test_a_smaller_window_crops_around_the_beam(simulated):
    window = ScanWindow.of(simulated.dataset, 16)
    assert window.measured.all()
    assert window.patterns[0][-8, 7] == simulated.dataset.patterns[0][4, 19]


def test_an_off_centre_beam_loses_what_lies_beyond_the_window(simulated):
    dataset = replace(simulated.dataset, beam_center_px=np.array([14.0, 11.0]))
    window = ScanWindow.of(dataset, 24)
    assert not window.measured[10:12].any()  # frequencies +10 and +11 would be rows 24 and 25
    assert window.measured[9].sum() == 23  # column frequency -12 would be column -1


def test_negative_counts_become_zero(simulated):
    dataset = replace(simulated.dataset, patterns=simulated.dataset.patterns.astype(np.float64) - 2)
    window = ScanWindow.of(dataset, 24)
    assert window.patterns.dtype == np.float32
    assert window.patterns.min() == 0


@pytest.mark.parametrize(("window", "refused"), [(4096, True), (1024, False), ("auto", False)])
def test_a_window_in_which_no_pattern_fits_anywhere_is_refused_at_once(simulated, monkeypatch, window, refused):
    """Regression: trials of some patterns ran for minutes before window_px = 4096 was refused."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 2e9)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**9))
    dataset = replace(simulated.dataset, patterns=np.broadcast_to(np.uint8(1), (400, 24, 24)))
    if not refused:
        scan_window.check_room(dataset, PatternSettings(window_px=window))
        return
    with pytest.raises(MetadataError, match=r"6\.7 GB of patterns in a window_px of 4096 fit neither into memory nor"):
        refine(dataset, Preset.from_mapping({"window_px": window, "num_slices": 1}))
