"""C functions of addresses: nothing is compiled before somebody uses one."""

import subprocess
import sys

import numba as nb

from ptylive.streamer.fast import bslz4, decoder, merlin_pixels
from ptylive.streamer.fast.c_functions import c_function


def test_it_is_compiled_once_and_when_it_is_used():
    @c_function(nb.types.int64(nb.int64))
    def doubled(value):
        return 2 * value

    assert "_compiled" not in vars(doubled)
    doubled.compile()
    first = vars(doubled)["_compiled"]
    assert doubled.ctypes(21) == 42
    assert doubled.address == first.address
    assert vars(doubled)["_compiled"] is first


def test_importing_the_decoders_compiles_nothing(tmp_path, monkeypatch):
    """A new machine has nothing in the cache: a command would wait at its start, even if it decodes nothing."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    modules = "ptylive.streamer.fast.decoder, ptylive.streamer.fast.merlin_pixels, ptylive.streamer.fast.receive"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    assert not list(tmp_path.rglob("*.nbc"))


def test_whoever_receives_has_the_decoders_compiled_before_the_first_frame(monkeypatch):
    monkeypatch.setattr(decoder.wire_codec, "decode_with", lambda _: None)
    monkeypatch.setattr(merlin_pixels, "decode_runs_with", lambda _: None)
    decoders = bslz4.decode_at, bslz4.decode_bytes_at, bslz4.decode_lz4_at, merlin_pixels.decode_frame_at
    for one in decoders:
        monkeypatch.delitem(vars(one), "_compiled", raising=False)
    decoder.use_compiled_decoder()
    merlin_pixels.use_compiled_runs()
    assert all("_compiled" in vars(one) for one in decoders)
