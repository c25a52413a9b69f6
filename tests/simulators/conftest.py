"""Receivers of these tests record as those of tests/streamer do."""

from kept_recorder import a_recorder_that_stays

__all__ = ["a_recorder_that_stays"]
