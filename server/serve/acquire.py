"""``python -m ptylive.server.serve.acquire CONFIG_JSON COMMAND_LINE [RESTARTS NOTICE STATE]``: receive, record, map.

Prints one JSON line when it is ready, or with the reason why it is not, then one line with all user settings whenever a
user changes one. It ends on SIGTERM, SIGINT, SIGHUP, the `shutdown` command, or with its parent. The exit status is one
of :class:`ExitCode`.
RESTARTS: how often it has died before; NOTICE: the message about that; STATE: the last line of settings, or {}.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from threadpoolctl import threadpool_limits

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.file_guard import guarded
from ptylive.engine.memory import share_freed_memory
from ptylive.schema import PtyliveError
from ptylive.schema.plain_errors import say_unraisable_in_a_line, tell_parent
from ptylive.server.process.compilation import EVERYTHING
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.ending_signals import handle_ending
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.process.parent_watch import exit_with_parent
from ptylive.server.serve import user_state
from ptylive.server.serve.control import ControlServer
from ptylive.server.serve.folder_watch import FileSender, FolderWatch
from ptylive.server.serve.notifier import Notifier
from ptylive.server.serve.printed_log import print_log
from ptylive.server.serve.session import Session
from ptylive.server.serve.watched_folder import WATCHED_LIST, WatchedFolder
from ptylive.streamer.vetting.known_files import FileAdmission

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Serve until told to stop; return the exit status."""
    say_unraisable_in_a_line("ptylive acquire")
    logging.basicConfig(level=logging.WARNING, format="ptylive acquire: %(levelname)s: %(message)s")
    config, command_line = ServerConfig.model_validate_json(arguments[0]), arguments[1]
    if config.dashboard is None:  # otherwise nobody would see the log
        print_log()
    share_freed_memory()
    use_persistent_cache()
    exit_with_parent()
    try:
        with threadpool_limits(limits=1):  # the receiver has first claim on the cores
            return _serve(config, command_line, arguments[2:])
    except PtyliveError as error:
        _say({"error": error.line()})
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        hint = ": allow more of them (ulimit -n 1024)" if error.errno == errno.EMFILE else ""
        log.error("%s%s%s", place, error.strerror or error, hint)
        _say({"error": "the receiving process cannot go on: the line above says why"})
    return 1


def _serve(config: ServerConfig, command_line: str, history: list[str]) -> int:
    session = Session(config, command_line)
    with guarded(FileAdmission(session.files)):
        return _run(session, history)


def _run(session: Session, history: list[str]) -> int:
    """Start the parts of the server, wait until told to stop, and stop them."""
    if history:
        session.restarts, session.notice = int(history[0]), history[1]
        user_state.restore(session, json.loads(history[2]))
    control = ControlServer(session.config.control, session)

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        session.shutdown_requested.set()

    handle_ending(ask_to_stop)
    session.compilation.start()
    threading.Thread(target=_warm_up, args=(session,), name="warm-up", daemon=True).start()
    watch = watched(session)  # before commands are accepted: files that appear from then on are new
    control.start()
    threading.Thread(target=session.detector.greet, name="detector", daemon=True).start()
    session.start()
    notifier = notifying(session)
    notifier.start()
    _say({"ready": True, "data": session.receiver.address})
    before = user_state.collected(session)
    while not session.shutdown_requested.wait(0.2):
        if (now := user_state.collected(session)) != before:
            _say({"user_state": now})
            before = now
    if watch is not None:
        watch.stop()
    notifier.stop()
    session.stop()
    control.stop()
    return ExitCode.PARTIAL if session.recordings_failed else ExitCode.DONE


def watched(session: Session) -> FolderWatch | None:
    """Start watching the folder named in the configuration, if any.

    The list of files taken up is kept next to the recordings.
    """
    config, folder = session.config, session.config.watched_folder
    if folder is None:
        return None
    taken_list = None if config.recording_folder is None else config.recording_folder / WATCHED_LIST
    watched_folder = WatchedFolder(folder, config.watch_settle_s, taken_list)
    send = FileSender(
        session.receiver.address,
        config.control,
        lambda: config.recording_folder is not None and session.recording_wanted,
        config.key_folder,
    )
    watch = FolderWatch(watched_folder, send, session.publisher.log)
    watch.start()
    return watch


def notifying(session: Session) -> Notifier:
    """Return the notifier that reports on the stream and the refinements, whichever scan is shown."""

    def status() -> dict[str, Any]:
        return {
            **session.receiver.status().to_plain(),
            "refinement": session.refine.refinements.current.summary(),
            "drift": session.drift,
        }

    config = session.config
    return Notifier(status, session.publisher.log, config.notify, config.recording_folder)


def _warm_up(session: Session) -> None:
    """Switch to the faster receive loop once it is compiled."""
    if session.compilation.wait_quietly(EVERYTHING):
        session.receiver.accelerate()


def _leave(status: int) -> NoReturn:
    """End the process now: a thread that still computes must not run while the interpreter is being torn down."""
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(status)


def _say(message: dict[str, object]) -> None:
    tell_parent(json.dumps(message))


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
