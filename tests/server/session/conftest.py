"""Fixtures for the library's tests."""

import pytest

from ptylive.server.session import library


@pytest.fixture(autouse=True)
def patient_library(monkeypatch):
    """Wait for entries that are being read, however busy the machine is."""
    monkeypatch.setattr(library, "PATIENCE_S", 120.0)
