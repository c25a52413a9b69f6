"""The library's tests."""

import pytest

from ptylive.server.session import library


@pytest.fixture(autouse=True)
def patient_library(monkeypatch):
    """Entries that are being read are waited for, however busy the machine is."""
    monkeypatch.setattr(library, "PATIENCE_S", 120.0)
