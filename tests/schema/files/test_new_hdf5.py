"""HDF5 files on a full disk: an error with the file's name, and a process that continues and ends normally."""

import errno
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5

ROOM = 20_000


@pytest.fixture
def little_room(monkeypatch):
    """Limit every file to ROOM bytes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # what is imported now would be kept incomplete
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, action)


def test_what_fits_is_written(tmp_path: Path, little_room) -> None:
    with for_hdf5(tmp_path / "a.h5") as whole, h5py.File(whole, "w") as file:
        file["a"] = np.arange(100)
        whole.check()
    with for_hdf5(tmp_path / "a.h5", "r+") as whole, h5py.File(whole, "r+") as file:
        file["b"] = np.arange(7)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["a"][()].tolist(), file["b"].shape) == (list(range(100)), (7,))


@pytest.mark.parametrize("mode", ["w", "r+"])
@pytest.mark.parametrize("checked", [False, True])
def test_what_does_not_fit_is_an_error_with_the_name_that_people_know(mode, checked, tmp_path, little_room) -> None:
    with pytest.raises(OSError) as full, replacing(tmp_path / "a.h5") as path:
        if mode == "r+":
            h5py.File(path, "w").close()
        with for_hdf5(path, mode) as whole, h5py.File(whole, mode) as file:
            file["a"] = np.zeros(ROOM)
            if checked:
                whole.check()
                raise AssertionError
    assert (full.value.errno, full.value.filename) == (errno.EFBIG, str(tmp_path / "a.h5"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as gone, replacing(tmp_path / "a.h5"):
        (tmp_path / "other").stat()
    assert gone.value.filename == str(tmp_path / "other")


SIMULATES = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
from pathlib import Path
import numpy as np
from ptylive.streamer.source import open_array
from ptylive.application.conversion import write_scan
try:
    with open_array(np.random.default_rng(0).integers(0, 9999, (9, 9, 64, 64)).astype("u2")) as source:
        write_scan(Path(sys.argv[1]), source)
except OSError as error:
    print(error.filename)
"""


def test_a_scan_that_does_not_fit_ends_no_process(tmp_path: Path) -> None:
    """Regression: the process crashed at its end, because HDF5 still had the file open."""
    ended = subprocess.run(
        [sys.executable, "-B", "-c", SIMULATES, str(tmp_path / "a.h5")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{tmp_path / 'a.h5'}\n", "")
