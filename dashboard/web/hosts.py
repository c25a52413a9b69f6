"""Under which names browsers may ask for the dashboard.

A page of somebody else's can point a name of its own at this machine (DNS rebinding), but it cannot make a browser
send another Host than that name. So the names of this machine itself are trusted on every port, which an ssh tunnel
may have changed, and any other name only when it was allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from ptylive.schema import PtyliveError

DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"^(\[[0-9a-f:.%]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?$")


class HostNameError(PtyliveError):
    """What was given as a name of this machine is none."""


@dataclass(frozen=True)
class Host:
    """A name, and a port; None: any port of an allowed name, the usual one of a header."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From `name`, `name:port`, `[::1]:port`; None for anything else."""
        match = _HOST.match(text.strip().lower())
        if match is None or int(match[2] or 0) > 65535:
            return None
        return cls(match[1].strip("[]"), int(match[2]) if match[2] else None)

    @property
    def is_loopback(self) -> bool:
        """Whether it names this machine itself, wherever the question comes from."""
        return is_loopback(self.name)

    def covers(self, other: Host) -> bool:
        """Whether this allowed name is that of a header."""
        usual = other.port is None and self.port in DEFAULT_PORTS.values()
        return self.name == other.name and (self.port in (None, other.port) or usual)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Hosts:
    """The names that are answered to: loopback at any port, and ``allowed``."""

    allowed: tuple[Host, ...] = ()

    @classmethod
    def of(cls, address: str, port: int, names: Iterable[str] = ()) -> Self:
        """For a server at ``address``:``port``; ``names``: NAME or NAME:PORT. Raises HostNameError."""
        allowed = [Host(address.strip("[]").lower(), port)]
        for name in names:
            host = Host.parse(name)
            if host is None:
                raise HostNameError(
                    f"{name!r} is no name of a machine", "write NAME or NAME:PORT, without http:// and without a path"
                )
            allowed.append(host)
        return cls(tuple(allowed))

    def admits(self, host: str) -> bool:
        """Whether a Host header is one of ours."""
        asked = Host.parse(host)
        return asked is not None and (asked.is_loopback or self._allows(asked))

    def admits_origin(self, origin: str, host: str) -> bool:
        """Whether a page may talk to us: it came from the address it asks now, or from a name that was allowed.

        A page at another port of this machine is somebody else's, so for loopback the port counts.
        """
        try:
            parts = urlsplit(origin.lower())
            port = parts.port
        except ValueError:
            return False
        asked = Host.parse(host)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or asked is None:
            return False
        usual = DEFAULT_PORTS[parts.scheme]
        came = Host(parts.hostname, port or usual)
        same = came == Host(asked.name, asked.port or usual)
        return same or self._allows(came) or (port is None and self._allows(Host(parts.hostname)))

    def _allows(self, host: Host) -> bool:
        return any(one.covers(host) for one in self.allowed)
