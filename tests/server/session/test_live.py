"""Frames come before calibrations and filters: on the processor too."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ptylive.server.session.live import BACKGROUND_NICENESS, step_back


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_only_the_thread_that_builds_filters_steps_back() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with ThreadPoolExecutor(1, initializer=step_back) as builders:
        assert builders.submit(niceness).result() == max(before, BACKGROUND_NICENESS)
    assert niceness() == before
