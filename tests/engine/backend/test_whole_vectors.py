"""The processor features passed to numba do not limit code to half-width vectors."""

import sys
from types import ModuleType

import pytest

from ptylive.engine.backend import whole_vectors
from ptylive.engine.backend.cache import use_persistent_cache


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("+avx2,+avx512f,-avx512fp16", "+avx2,+avx512f,-avx512fp16,-prefer-256-bit"),
        ("+avx2,-avx512f", "+avx2,-avx512f"),
        ("+neon", "+neon"),
        ("", ""),
    ],
)
def test_processors_with_vectors_of_512_bits_use_them_whole(found, told, monkeypatch):
    code = ModuleType(whole_vectors.CODE)
    code.get_host_cpu_features = lambda: found
    monkeypatch.setitem(sys.modules, whole_vectors.CODE, code)
    others = [finder for finder in sys.meta_path if getattr(finder, "name", "") != whole_vectors.CODE]
    monkeypatch.setattr(sys, "meta_path", others)
    whole_vectors.use_whole_vectors()
    assert code.get_host_cpu_features() == told


def test_numba_asks_so_wherever_compiled_code_is_kept():
    use_persistent_cache()
    from numba.core import codegen

    features = codegen.get_host_cpu_features().split(",")
    assert (whole_vectors.HALVES in features) == (whole_vectors.WIDE in features)
