"""Control messages: every value that is allowed can be sent, whatever the names of files are."""

import pytest

from ptylive.server.wire.messages import pack, unpack


@pytest.mark.parametrize("name", ["\udcff.h5", "scan\ud800.h5"])
def test_a_name_that_is_no_unicode_has_question_marks(name: str) -> None:
    told = unpack(pack({"recording": name}))["recording"]
    assert told == name.encode(errors="replace").decode()
    assert "?" in told


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91\x01", b"\x81\xa1", b"\xff" * 1000, b"\x91" * 5000, b"\x81\x01\x02"]
)
def test_what_is_no_map_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a msgpack"):
        unpack(data)
