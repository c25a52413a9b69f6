"""Host names under which browsers may request the dashboard.

A foreign page can point a name of its own at this machine (DNS rebinding), but it cannot make a browser send a Host
other than that name. The names of this machine itself are therefore trusted on every port, because an ssh tunnel may
have changed the port, and any other name only if it was allowed.
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
    """An invalid name was given for this machine."""


@dataclass(frozen=True)
class Host:
    """A name, and a port; a port of None means any port of an allowed name, or the default port of a header."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse `name`, `name:port`, `[::1]:port`; return None for anything else."""
        match = _HOST.match(text.strip().lower())
        if match is None or int(match[2] or 0) > 65535:
            return None
        return cls(match[1].strip("[]"), int(match[2]) if match[2] else None)

    @property
    def is_loopback(self) -> bool:
        """Whether the name refers to this machine itself, wherever the request comes from."""
        return is_loopback(self.name)

    def covers(self, other: Host) -> bool:
        """Whether this allowed name covers the name of a header."""
        usual = other.port is None and self.port in DEFAULT_PORTS.values()
        return self.name == other.name and (self.port in (None, other.port) or usual)


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Hosts:
    """The names that are accepted: loopback at any port, and ``allowed``."""

    allowed: tuple[Host, ...] = ()

    @classmethod
    def of(cls, address: str, port: int, names: Iterable[str] = ()) -> Self:
        """Hosts of a server at ``address``:``port``; ``names``: NAME or NAME:PORT. Raises HostNameError."""
        allowed = [Host(address.strip("[]").lower(), port)]
        for name in names:
            host = Host.parse(name)
            if host is None:
                raise HostNameError(
                    f"{name!r} is not the name of a machine",
                    "give NAME or NAME:PORT, without http:// and without a path",
                )
            allowed.append(host)
        return cls(tuple(allowed))

    def admits(self, host: str) -> bool:
        """Whether a Host header is one of ours."""
        requested = Host.parse(host)
        return requested is not None and (requested.is_loopback or self._allows(requested))

    def admits_origin(self, origin: str, host: str) -> bool:
        """Whether a page may access us: it came from the address it now requests, or from an allowed name.

        A page at another port of this machine is a foreign page, so the port counts for loopback addresses.
        """
        try:
            parts = urlsplit(origin.lower())
            port = parts.port
        except ValueError:
            return False
        requested = Host.parse(host)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or requested is None:
            return False
        usual = DEFAULT_PORTS[parts.scheme]
        sender = Host(parts.hostname, port or usual)
        same_host = sender == Host(requested.name, requested.port or usual)
        return same_host or self._allows(sender) or (port is None and self._allows(Host(parts.hostname)))

    def _allows(self, host: Host) -> bool:
        return any(allowed.covers(host) for allowed in self.allowed)
