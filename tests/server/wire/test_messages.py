"""Control messages: every value that is allowed can be sent, whatever the names of files are."""

import msgpack
import pytest

from ptylive.server.wire.messages import ANY_TEXT, pack, pack_exactly, unpack


@pytest.mark.parametrize("name", ["\udcff.h5", "scan\ud800.h5"])
def test_a_name_that_is_no_unicode_has_question_marks(name: str) -> None:
    told = unpack(pack({"recording": name}))["recording"]
    assert told == name.encode(errors="replace").decode()
    assert "?" in told


@pytest.mark.parametrize("name", ["\udcff.h5", "scan\ud800.h5", "\udcc3\udcbc.h5", "ü.h5"])
def test_processes_of_one_machine_keep_every_byte_of_a_name(name: str) -> None:
    assert msgpack.unpackb(pack_exactly({"recording": name}), unicode_errors=ANY_TEXT) == {"recording": name}


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91\x01", b"\x81\xa1", b"\xff" * 1000, b"\x91" * 5000, b"\x81\x01\x02"]
)
def test_what_is_no_map_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a msgpack"):
        unpack(data)
