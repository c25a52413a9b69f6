"""What a browser may fetch: offered files only, for a while, at unguessable addresses, without following links."""

import os
import time

import pytest

from ptylive.dashboard.web import downloads as module
from ptylive.dashboard.web.downloads import KEPT_S, MOST, Downloads, open_regular, safe_name


def key_of(address):
    word, key, _name = address.split("/")
    assert word == "download"
    return key


def test_only_what_was_offered_is_found(tmp_path):
    offered = Downloads()
    key = key_of(offered.offer(tmp_path / "map.tif"))
    assert offered.find(key) == tmp_path / "map.tif"
    for other in ("", key[:-1], key + "A", key.swapcase(), "../map.tif", "map.tif"):
        assert offered.find(other) is None


def test_addresses_are_long_and_never_the_same(tmp_path):
    offered = Downloads()
    keys = {key_of(offered.offer(tmp_path / "map.tif")) for _ in range(50)}
    assert len(keys) == 50
    assert min(map(len, keys)) >= 21, "16 bytes of chance"


def test_an_offer_ends(tmp_path, monkeypatch):
    offered, now = Downloads(), time.monotonic()
    key = key_of(offered.offer(tmp_path / "map.tif"))
    monkeypatch.setattr(module.time, "monotonic", lambda: now + KEPT_S - 1)
    assert offered.find(key) is not None
    monkeypatch.setattr(module.time, "monotonic", lambda: now + KEPT_S + 10)
    assert offered.find(key) is None


def test_the_oldest_give_way(tmp_path):
    offered = Downloads()
    keys = [key_of(offered.offer(tmp_path / f"{n}.tif")) for n in range(MOST + 1)]
    assert offered.find(keys[0]) is None
    assert all(offered.find(key) is not None for key in keys[1:])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("obf.tif", "obf.tif"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (".bashrc", "bashrc"),
        ('a"b\r\nSet-Cookie: x', "a_b__Set-Cookie__x"),
        ("…", "_"),
        ("...", "export"),
        ("", "export"),
        ("x" * 500 + ".h5", "x" * 117 + ".h5"),
    ],
)
def test_names_hold_nothing_that_a_header_or_a_system_reads(name, safe):
    assert safe_name(name) == safe


def test_only_ordinary_files_are_opened(tmp_path):
    """An offered file may have been replaced since: by a link to something else, or by a pipe without a writer."""
    real = tmp_path / "map.tif"
    real.write_bytes(b"picture")
    with open_regular(real) as file:
        assert file.read() == b"picture"
    (tmp_path / "link").symlink_to(real)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "", "gone"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
