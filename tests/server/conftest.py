"""Servers of these tests share their recorders and file readers, as in tests/streamer."""

from kept_processes import a_reader_that_stays, a_recorder_that_stays

__all__ = ["a_reader_that_stays", "a_recorder_that_stays"]
