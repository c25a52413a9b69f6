"""Where documents are; settings of constraints, which stand with what they belong to."""

from pathlib import Path

import pytest

import ptylive.application.extensions  # noqa: F401


@pytest.fixture
def repository():
    return Path(__file__).resolve().parents[3]
