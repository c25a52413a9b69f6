"""A demo with an empty compile cache: no function is compiled by two of its processes, then or the next time."""

import os
import time

import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.cold_start import Kept, measure


@pytest.mark.slow
def test_nothing_is_compiled_twice(tmp_path):
    cold, warm = measure(tmp_path), measure(tmp_path)
    assert cold["compiled"] > 0
    assert cold["twice"] == warm["twice"] == []


def test_what_is_written_again_is_counted_twice(tmp_path):
    def write(name):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, ns=(time.time_ns(), time.time_ns()))

    write("before.nbc")
    kept = Kept(tmp_path)
    kept.close()
    for name in ("once.nbc", "again.nbc", "index.nbi"):
        write(name)
    kept._scan_files()
    write("again.nbc")
    kept._scan_files()
    assert {path.name: times for path, times in kept.written.items()} == {"once.nbc": 1, "again.nbc": 2}
