"""Receivers of these tests record as those of tests/streamer do."""

from kept_processes import a_reader_that_stays, a_recorder_that_stays

__all__ = ["a_reader_that_stays", "a_recorder_that_stays"]
