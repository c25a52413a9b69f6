"""Fixtures for the library's tests."""

import pytest
from kept_processes import a_reader_that_stays

from ptylive.server.session import library

__all__ = ["a_reader_that_stays"]


@pytest.fixture(autouse=True)
def patient_library(monkeypatch):
    """Wait for entries that are being read, however busy the machine is."""
    monkeypatch.setattr(library, "PATIENCE_S", 120.0)
