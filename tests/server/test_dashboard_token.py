"""`ptylive serve --token`: addresses with tokens are printed, and nothing else opens the page."""

import http.client
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running import PTYLIVE

from ptylive.schema import MetadataError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.process.config_file import load_config
from ptylive.server.wire.client import ControlClient


def status(address: str) -> int:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", f"{parts.path or '/'}?{parts.query}")
    code = connection.getresponse().status
    connection.close()
    return code


@pytest.mark.slow
def test_tokens_are_printed_and_needed(tmp_path: Path) -> None:
    data, control = free_addresses()
    options = ["--data", data, "--control", control, "--dashboard", "127.0.0.1:0", "--record", str(tmp_path)]
    process = subprocess.Popen([PTYLIVE, "serve", *options, "--operator", "anna"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        while "operator anna:" not in said and (line := process.stderr.readline()):
            said += line
        address = re.search(r"dashboard at (\S+)", said)
        logins = re.findall(r"(http\S+/login\?token=\S+)", said)
        assert address is not None
        assert len(logins) == 3
        assert status(address[1]) == 401
        assert [status(login) for login in logins] == [302, 302, 302]
        assert status(logins[0] + "x") == 401
        with ControlClient(control) as client:
            client.call("record", on=False, by="anna")
        assert process.stderr.readline().endswith("anna: record of on False\n")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_others_see_the_dashboard_only_behind_a_token() -> None:
    with pytest.raises(MetadataError, match="with --token"):
        load_config(None, {"dashboard": "0.0.0.0:5006"}, {})
    open_to_others = load_config(None, {"dashboard": "0.0.0.0:5006"}, {"security.token": True})
    assert open_to_others.dashboard == "0.0.0.0:5006"
    with pytest.raises(MetadataError, match="loopback"):
        load_config(None, {"metrics": "0.0.0.0:9996"}, {"security.token": True})


def test_operators_with_names_have_tokens() -> None:
    config = load_config(None, {}, {"security.operators": ("anna", "ben")})
    assert (config.security.token, config.security.operators) == (True, ("anna", "ben"))
    for wrong in (("a b",), ("anna", "anna"), ("anna:x",)):
        with pytest.raises(MetadataError, match="not a name of letters"):
            load_config(None, {}, {"security.operators": wrong})
