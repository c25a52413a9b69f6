"""Post events to a web address (configuration: ``notify``), and warn when the disk is filling up.

Each message is a POST of JSON {"what", "text", "series", "uid", "time"}, which a chat's incoming webhook or a lab's own
server of twenty lines can accept. Nothing waits for it, and no failure there affects a scan.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ptylive.server.wire.news import news

LOOK_EVERY_S = 0.5
TIMEOUT_S = 5.0
TRY_AGAIN_S = 10.0
END_S = 1.0
MOST_WAITING = 100
"""Maximum number of undelivered messages; beyond it the oldest are dropped."""
LOW_DISK_BYTES = 2 * 10**9
SAY_AGAIN_S = 120.0
Post = Callable[[str, bytes], None]
News = dict[str, str]
"""A message without its time: ``what`` it is about, ``text``, and ``series`` and ``uid`` of the scan."""


class Notifier:
    """Notifier that checks the status periodically. ``log``: takes a level and a line.

    ``ask``: returns the status of the stream, whichever scan is shown, including ``refinement`` and ``drift``.

    ``url``: where messages go, None: nowhere; ``folder``: where recordings go, None: nothing is recorded.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, Any]],
        log: Callable[[str, str], None],
        url: str | None,
        folder: Path | None,
        post: Post | None = None,
    ) -> None:
        self._ask, self._log, self._url, self._folder = ask, log, url, folder
        self._post = post or _post
        self._reported: dict[str, News] = {}
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._not_before = self._disk_not_before = 0.0
        self._trouble = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Start the notifier's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what can be sent within a second, then end."""
        self._stopped.set()
        self._thread.join(END_S)

    def look(self, now: float) -> None:
        """Check for news and send waiting messages; ``now``: seconds of a monotonic clock."""
        status = self._ask()
        run, series = status["refinement"], str(status["series"])
        state, lost = str(status["state"]), int(status["lost"])
        texts = news(state, series, lost, run, status.get("drift"), status.get("silent_s"))
        if self._is_low(now):
            texts["disk"] = f"the disk is nearly full: less than {LOW_DISK_BYTES / 1e9:g} GB left in {self._folder}"
        found: dict[str, News] = {}
        for topic, text in texts.items():
            about = run if topic == "refinement" else status  # its scan may be an earlier one
            found[topic] = {"what": topic, "text": text, "series": str(about["series"]), "uid": str(about["uid"])}
            if found[topic] != self._reported.get(topic):
                self._post_news(found[topic])
        self._reported = found
        self._send(now)

    def _post_news(self, message: News) -> None:
        if self._url is not None:
            self._waiting.append(json.dumps({**message, "time": time.time()}).encode())

    def _is_low(self, now: float) -> bool:
        """Return whether the disk is nearly full; logs a warning every few minutes while it is."""
        try:
            low = self._folder is not None and shutil.disk_usage(self._folder).free < LOW_DISK_BYTES
        except OSError:  # the recorder reports this, with the reason
            return False
        if low and now >= self._disk_not_before:
            self._disk_not_before = now + SAY_AGAIN_S
            self._log("warning", f"the disk of {self._folder} is nearly full")
        return low

    def _send(self, now: float) -> None:
        while self._waiting and self._url is not None and now >= self._not_before:
            try:
                self._post(self._url, self._waiting[0])
            except (OSError, HTTPException, ValueError) as error:
                self._not_before = now + TRY_AGAIN_S
                if self._trouble != str(error):
                    self._trouble = str(error)
                    self._log(
                        "warning",
                        f"notifications cannot be delivered to {self._url}: {error}; they are kept and sent again",
                    )
                return
            self._waiting.popleft()
            self._trouble = ""

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            self.look(time.monotonic())
        self.look(time.monotonic())


def _post(url: str, message: bytes) -> None:
    request = urllib.request.Request(url, message, {"Content-Type": "application/json"})  # noqa: S310  (checked: http)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
