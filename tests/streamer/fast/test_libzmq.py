"""libzmq for compiled code: pyzmq's own or none, and never another library than the one that opens the sockets."""

import pytest
import zmq

from ptylive.schema import PtyliveError
from ptylive.streamer.fast import libzmq


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A pyzmq installed here."""
    package = tmp_path / "zmq"
    package.mkdir()
    monkeypatch.setattr(libzmq.zmq, "__file__", str(package / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize(("folder", "name"), [("pyzmq.libs", "libzmq-1a2b.so.5.2"), ("zmq/.dylibs", "libzmq.5.dylib")])
def test_the_library_of_the_wheel_is_found(wheel, folder, name):
    (wheel / folder).mkdir()
    (wheel / folder / "libsodium-3c4d.so.26").touch()
    (wheel / folder / name).touch()
    assert libzmq.library() == (wheel / folder / name).resolve()


@pytest.mark.parametrize("names", [[], ["libzmq-1.so.5", "libzmq-2.so.5"]])
def test_without_one_or_with_two_there_is_none(wheel, names):
    """Installed by conda or a distribution; or it is unknown which library the sockets belong to."""
    (wheel / "pyzmq.libs").mkdir()
    for name in names:
        (wheel / "pyzmq.libs" / name).touch()
    with pytest.raises(PtyliveError, match="no libzmq next to"):
        libzmq.library()


def test_another_major_version_is_not_taken(monkeypatch):
    monkeypatch.setattr(zmq, "zmq_version_info", lambda: (5, 0, 0))
    with pytest.raises(PtyliveError, match="is not version 4"):
        libzmq.load()


def test_a_library_that_does_not_load_or_lacks_a_function_is_said_to(monkeypatch, tmp_path):
    def refuses(_path):
        raise RuntimeError("wrong ELF class")

    with monkeypatch.context() as patch:
        patch.setattr(libzmq.llvm, "load_library_permanently", refuses)
        with pytest.raises(PtyliveError, match="libzmq cannot be loaded: wrong ELF class"):
            libzmq.load()
    monkeypatch.setattr(libzmq.llvm, "load_library_permanently", lambda _path: None)
    monkeypatch.setattr(libzmq.llvm, "address_of_symbol", lambda name: None if name.startswith("zmq") else 1)
    with pytest.raises(PtyliveError, match="zmq_msg_recv not found"):
        libzmq.load()
