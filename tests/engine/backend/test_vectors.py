"""Vector width, for this processor and for others that numba is configured for."""

import numba
import pytest

from ptylive.engine.backend.vectors import exchanged_bytes, features, lanes


@pytest.mark.parametrize(
    ("told", "expected"), [("+avx512f,+fma", 16), ("+avx2,-avx512f", 8), ("", 8), ("-avx512f,+sse4.2", 8)]
)
def test_lanes_are_those_of_the_processor_that_is_compiled_for(told, expected, monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_FEATURES", told)
    assert lanes() == expected


def test_the_processor_at_hand_is_asked_where_numba_is_told_of_no_other(monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    monkeypatch.setattr("ptylive.engine.backend.vectors.llvm.get_host_cpu_features", lambda: {"avx512f": True})
    assert features() == {"avx512f": True}
    assert lanes() == 16


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("znver5", "+avx512f", 32),
        ("znver5", "+avx2", 16),
        ("znver4", "+avx512f", 16),
        ("sapphirerapids", "+avx512f", 16),
    ],
)
def test_numbers_are_exchanged_within_32_bytes_where_exchanges_are_as_fast_as_reads(name, told, expected, monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", told)
    assert exchanged_bytes() == expected
    monkeypatch.setattr(numba.config, "CPU_NAME", None)
    monkeypatch.setattr("ptylive.engine.backend.vectors.llvm.get_host_cpu_name", lambda: name)
    assert exchanged_bytes() == expected
