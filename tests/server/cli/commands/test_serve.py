"""Messages for a user who ends the server, and for one who cannot wait for its end."""

import sys
from types import SimpleNamespace

import pytest

from ptylive.server.cli.commands import serve
from ptylive.server.cli.main import main
from ptylive.server.process.exit_codes import ExitCode


class Supervisor:
    """A server that is interrupted while it runs, and ``again`` while it stops."""

    again = False

    def __init__(self, config, **_) -> None:
        self.config, self.dashboard_url, self.logins = config, "", {}
        self.data_address = config.data

    def start(self) -> None:
        """There is nothing to start."""

    def watch(self) -> int:
        raise KeyboardInterrupt

    def stop(self) -> int:
        if self.again:
            raise KeyboardInterrupt
        return ExitCode.DONE


@pytest.mark.parametrize(
    ("again", "status", "words"),
    [
        (False, ExitCode.DONE, "stopping; the recording is finished first"),
        (True, ExitCode.INTERRUPTED, "frames not yet recorded are in the journal; the next start recovers them"),
    ],
)
def test_ctrl_c_says_what_is_kept(monkeypatch, capsys, again, status, words) -> None:
    monkeypatch.setattr(serve, "Supervisor", Supervisor)
    monkeypatch.setattr(serve, "signal", SimpleNamespace(signal=lambda *_: None, SIGTERM=15))
    monkeypatch.setattr(Supervisor, "again", again)
    monkeypatch.setattr(sys, "argv", ["ptylive", "serve", "--headless", "--no-record"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == status
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("given", ["", "of-the-operators of-all-the-viewers"])
def test_tokens_that_are_set_are_required(monkeypatch, given) -> None:
    """Regression: tokens in the environment were ignored without ``--token``, and the page was open to everybody."""
    made = []
    monkeypatch.setattr(serve, "Supervisor", lambda config, **_: made.append(config) or Supervisor(config))
    monkeypatch.setattr(serve, "signal", SimpleNamespace(signal=lambda *_: None, SIGTERM=15))
    monkeypatch.setenv("PTYLIVE_DASHBOARD_TOKENS", given)
    monkeypatch.setattr(sys, "argv", ["ptylive", "serve", "--no-record"])
    with pytest.raises(SystemExit):
        main()
    assert made[0].security.token is bool(given)
