"""Memory that is still available to a process, and arrays kept in files where memory does not suffice."""

import errno
import math
import mmap
import os
import platform
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine import memory
from ptylive.schema import MetadataError

GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    """A machine with a given amount of free memory, and a process that uses part of a limit."""

    def has(free, used=0, limit=resource.RLIM_INFINITY):
        info = SimpleNamespace(memory_info=lambda: SimpleNamespace(vms=used))
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        monkeypatch.setattr(memory.psutil, "Process", lambda: info)
        monkeypatch.setattr(resource, "getrlimit", lambda _kind: (limit, limit))

    return has


def test_the_smaller_of_both_counts(machine):
    machine(8 * GB)
    assert memory.available_bytes() == 8 * GB
    machine(8 * GB, used=1 * GB, limit=3 * GB)
    assert memory.available_bytes() == 2 * GB
    machine(1 * GB, used=1 * GB, limit=3 * GB)
    assert memory.available_bytes() == 1 * GB
    machine(8 * GB, used=5 * GB, limit=3 * GB)
    assert memory.available_bytes() == 0


@pytest.mark.parametrize("needed", [2.1 * GB, math.inf, math.nan])
def test_what_does_not_fit_is_refused_with_both_numbers(machine, needed):
    machine(2 * GB)
    memory.check_fits(1.9 * GB, "the object", "use fewer slices")
    with pytest.raises(MetadataError, match=r"the object would take .* GB, 2 GB are free") as caught:
        memory.check_fits(needed, "the object", "use fewer slices")
    assert "use fewer slices" in caught.value.line()


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "ALWAYS_IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)


def test_half_of_what_is_free_and_what_is_small_stay_in_memory(little_memory, monkeypatch, tmp_path):
    assert memory.fits(500)
    assert not memory.fits(501)
    assert memory.bytes_in_files(memory.Scratch(tmp_path).zeros((500,), np.uint8, "numbers")) == 0
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)
    assert memory.fits(100)
    assert not memory.fits(101)


def test_an_array_in_a_file_is_one_and_leaves_nothing(little_memory, tmp_path, caplog):
    made = memory.Scratch(tmp_path).zeros((30, 20), np.uint16, "patterns")
    assert made.shape == (30, 20) and made.dtype == np.uint16 and not made.any()
    assert memory.bytes_in_files(made) == 1200
    assert list(tmp_path.iterdir()) == []  # the file has no name
    made[3] = 7
    assert memory.Scratch(tmp_path).copy(made, "patterns")[3].sum() == 140
    assert f"patterns do not fit into memory and go to a file in {tmp_path}" in caplog.text


def test_a_disk_without_room_is_told_before_anything_is_written(little_memory, tmp_path, monkeypatch):
    def full(number, start, size):
        assert (start, size) == (0, 600)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        MetadataError, match=f"fit neither into memory nor on the disk .*{tmp_path}: No space"
    ) as refused:
        memory.Scratch(tmp_path).zeros((600,), np.uint8, "patterns")
    assert "TMPDIR" in refused.value.hint
    with pytest.raises(MetadataError, match="No such file"):
        memory.Scratch(tmp_path / "gone").zeros((600,), np.uint8, "patterns")


@pytest.mark.parametrize(("size", "fits"), [(60, True), (90, True), (91, False), (101, False), (10**6, False)])
def test_a_disk_that_is_too_small_is_not_filled_first(little_memory, tmp_path, monkeypatch, size, fits):
    """Regression: window_px = 4096 filled the disk with 40 GB, for two minutes, before it was refused."""
    taken = []
    monkeypatch.setattr(memory, "ALWAYS_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(memory, "SHARE_OF_FREE", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=100))
    monkeypatch.setattr(os, "posix_fallocate", lambda number, *how: taken.append(how) or os.ftruncate(number, size))
    if fits:
        memory.Scratch(tmp_path).check(size, "patterns")
        assert taken == []
        memory.Scratch(tmp_path).zeros((size,), np.uint8, "patterns")
        assert taken == [(0, size)]
        return
    with pytest.raises(MetadataError, match=f"neither into memory nor on the disk .{tmp_path}: 1e-07 GB free") as told:
        memory.Scratch(tmp_path).zeros((size,), np.uint8, "patterns")
    assert "a smaller window_px" in told.value.hint
    with pytest.raises(MetadataError, match="neither into memory nor on the disk"):
        memory.Scratch(tmp_path).check(size, "patterns")
    assert taken == []


def test_room_is_taken_when_the_array_is_made(little_memory, tmp_path, monkeypatch):
    """A sparse file would end the program if the disk were full when its holes are filled."""
    taken = []
    whole = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *how: (taken.append(how[2]), whole(*how)))
    memory.Scratch(tmp_path).zeros((10, 100), np.float32, "numbers")
    assert taken == [4000]


def test_files_go_to_tmpdir_or_beside_what_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(memory.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert memory._default_folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    cache = tmp_path / "cache"
    monkeypatch.setattr(memory.platformdirs, "user_cache_dir", lambda name: str(cache / name))
    assert memory._default_folder() == cache / "ptylive"
    assert (cache / "ptylive").is_dir()
    cache = tmp_path / "file"
    cache.write_bytes(b"")
    assert memory._default_folder() == tmp_path


@pytest.fixture
def spilled(monkeypatch, tmp_path):
    """Rows of 3 000 bytes in a file, as views of it."""
    monkeypatch.setattr(memory, "fits", lambda nbytes: False)
    made = np.asarray(memory.Scratch(tmp_path).zeros((64, 3000), np.uint8, "patterns"))
    made[...] = np.arange(64)[:, None]
    return made


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="a system that takes no such advice")
def test_rows_of_a_file_are_asked_for_in_whole_pages_neighbours_together(spilled):
    several, page = np.array([9, 2, 1, 2, 63]), mmap.PAGESIZE
    places = memory._byte_ranges(spilled, several, 0)
    expected = [(3000 // page * page, 9000), (27000 // page * page, 30000), (189000 // page * page, 192000)]
    assert places == expected
    assert memory.expect_rows(spilled, several) == sum(stop - start for start, stop in expected)
    view = spilled.reshape(64, 50, 60).swapaxes(1, 2)[32:]  # further on in the file
    assert memory.expect_rows(view, np.array([0])) == 99000 - 96000 // page * page
    np.testing.assert_array_equal(spilled[:, 0], np.arange(64))


def test_rows_in_memory_are_not_asked_for(spilled):
    assert memory.expect_rows(spilled.copy(), np.array([3])) == 0
    assert memory.expect_rows(np.zeros((4, 0), np.uint8), np.array([0])) == 0
    assert memory.expect_rows(spilled, np.array([], np.int64)) == 0


_FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from ptylive.engine.memory import keep_freed_memory
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(2**20, dtype="u1")
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_freed_memory_is_kept_where_the_environment_says_otherwise():
    """As on Dask's workers, each of 50 arrays of 1 MiB causes 256 page faults of 4 KiB unless freed memory is kept."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    faults = {}
    for how in ("given back", "kept"):
        ran = subprocess.run([sys.executable, "-c", _FAULTS, how], env=environment, capture_output=True, check=True)
        faults[how] = int(ran.stdout)
    assert faults["kept"] < 256 < faults["given back"] / 2, faults


_ARENAS = """
import ctypes, sys, threading
import numpy as np
if sys.argv[1] == "shared":
    from ptylive.engine.memory import share_freed_memory
    assert share_freed_memory()
together = threading.Barrier(8)
def allocate():
    held = []
    for _ in range(100):
        held.append(np.ones(1000))
        together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_threads_use_what_others_have_freed(tmp_path):
    """Each of eight threads that allocate at a time has a pool of its own, unless they share some."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    pools = {}
    for how in ("apart", "shared"):
        info = tmp_path / f"{how}.xml"
        subprocess.run([sys.executable, "-c", _ARENAS, how, str(info)], env=environment, check=True)
        pools[how] = info.read_text().count("<heap nr=")
    assert pools["shared"] <= memory.MOST_ARENAS < pools["apart"], pools
