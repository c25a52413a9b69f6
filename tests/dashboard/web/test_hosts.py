"""Names under which the dashboard answers: loopback at any port, allowed names, nothing else."""

import pytest

from ptylive.dashboard.web.hosts import HostNameError, Hosts

PLAIN = Hosts.of("127.0.0.1", 5006)
PROXIED = Hosts.of("127.0.0.1", 5006, ("microscope.example", "lab.example:8443", "old.example:443"))
OPEN = Hosts.of("192.168.1.2", 5006)


@pytest.mark.parametrize(
    ("hosts", "host", "admitted"),
    [
        (PLAIN, "127.0.0.1:5006", True),
        (PLAIN, "localhost:7777", True),  # ssh -L 7777:127.0.0.1:5006
        (PLAIN, "LOCALHOST:1", True),
        (PLAIN, "127.0.0.1", True),
        (PLAIN, "[::1]:80", True),
        (PLAIN, "127.8.9.10:5006", True),
        (PLAIN, "evil.example", False),
        (PLAIN, "evil.example:5006", False),
        (PLAIN, "localhost.evil.example:5006", False),
        (PLAIN, "127.0.0.1.evil.example", False),
        (PLAIN, "localhost:99999", False),
        (PLAIN, "localhost:", False),
        (PLAIN, "", False),
        (PLAIN, "localhost@evil.example", False),
        (PLAIN, "192.168.1.2:5006", False),
        (PROXIED, "microscope.example", True),
        (PROXIED, "microscope.example:443", True),
        (PROXIED, "lab.example:8443", True),
        (PROXIED, "lab.example", False),
        (PROXIED, "lab.example:5006", False),
        (PROXIED, "old.example", True),  # browsers leave out port 443
        (OPEN, "192.168.1.2:5006", True),
        (OPEN, "192.168.1.2:5007", False),
    ],
)
def test_hosts(hosts: Hosts, host: str, admitted: bool) -> None:
    assert hosts.admits(host) is admitted


@pytest.mark.parametrize(
    ("origin", "host", "admitted"),
    [
        ("http://127.0.0.1:5006", "127.0.0.1:5006", True),
        ("http://localhost:7777", "localhost:7777", True),
        ("https://microscope.example", "microscope.example", True),
        ("https://microscope.example", "127.0.0.1:5006", True),  # a proxy that connects under its own name
        ("https://old.example", "127.0.0.1:5006", True),
        ("http://127.0.0.1:8888", "127.0.0.1:5006", False),  # another program on this machine
        ("http://localhost:5006", "127.0.0.1:5007", False),
        ("http://evil.example", "127.0.0.1:5006", False),
        ("https://evil.example", "microscope.example", False),
        ("null", "127.0.0.1:5006", False),
        ("file://", "127.0.0.1:5006", False),
        ("http://[", "127.0.0.1:5006", False),
        ("http://127.0.0.1:port", "127.0.0.1:5006", False),
    ],
)
def test_origins(origin: str, host: str, admitted: bool) -> None:
    assert PROXIED.admits_origin(origin, host) is admitted


def test_what_is_no_name_is_refused() -> None:
    for text in ("http://microscope.example", "microscope.example/ptylive", "a b", "", "name:port", "name:70000"):
        with pytest.raises(HostNameError, match="is not the name"):
            Hosts.of("127.0.0.1", 5006, (text,))
