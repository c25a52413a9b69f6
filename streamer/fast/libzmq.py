"""The libzmq that pyzmq itself uses, for compiled code: found, loaded, and eight functions of its public interface.

Sockets are made, configured and closed by pyzmq; compiled code only takes messages from them. Symbols are bound by name
when compiled code is loaded, so numba's cache stays valid.
"""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm
import zmq
from numba import types

from ptylive.schema import PtyliveError

MESSAGE_WORDS = 8
"""A zmq_msg_t has 64 bytes (libzmq 4)."""
AGAIN, INTERRUPTED, NO_WAIT = int(zmq.EAGAIN), 4, int(zmq.NOBLOCK)

CONNECTION = int(zmq.SRCFD)
"""The property of a message that identifies its connection: the file descriptor; -1 where there is none."""

_INT, _ADDRESS = types.int32, types.uintp
msg_init = types.ExternalFunction("zmq_msg_init", _INT(_ADDRESS))
msg_recv = types.ExternalFunction("zmq_msg_recv", _INT(_ADDRESS, _ADDRESS, _INT))
msg_data = types.ExternalFunction("zmq_msg_data", _ADDRESS(_ADDRESS))
msg_size = types.ExternalFunction("zmq_msg_size", _ADDRESS(_ADDRESS))
msg_more = types.ExternalFunction("zmq_msg_more", _INT(_ADDRESS))
msg_get = types.ExternalFunction("zmq_msg_get", _INT(_ADDRESS, _INT))
msg_close = types.ExternalFunction("zmq_msg_close", _INT(_ADDRESS))
last_error = types.ExternalFunction("zmq_errno", _INT())
copy_bytes = types.ExternalFunction("memcpy", _ADDRESS(_ADDRESS, _ADDRESS, _ADDRESS))
sleep_us = types.ExternalFunction("usleep", _INT(types.uint32))


def library() -> Path:
    """Return the shared library in pyzmq's wheel. Raises PtyliveError for other pyzmq (conda, a distribution)."""
    package = Path(zmq.__file__).parent
    patterns = ((package.parent / "pyzmq.libs", "libzmq*.so*"), (package / ".dylibs", "libzmq*.dylib"))
    for folder, pattern in patterns:
        found = sorted(folder.glob(pattern)) if folder.is_dir() else []
        if len(found) == 1:
            return found[0].resolve()
    raise PtyliveError(f"no libzmq next to {package}", "install pyzmq from PyPI for the compiled receive loop")


def load() -> None:
    """Make libzmq's functions available to compiled code. Raises PtyliveError when that cannot be done safely."""
    if zmq.zmq_version_info()[0] != 4:
        raise PtyliveError(f"libzmq {zmq.zmq_version()} is not version 4", "the plain receive loop is used")
    try:
        llvm.load_library_permanently(str(library()))
    except RuntimeError as error:
        raise PtyliveError(f"libzmq cannot be loaded: {error}", "the plain receive loop is used") from None
    missing = [name for name in ("zmq_msg_recv", "memcpy", "usleep") if not llvm.address_of_symbol(name)]
    if missing:
        raise PtyliveError(f"{', '.join(missing)} not found", "the plain receive loop is used")
