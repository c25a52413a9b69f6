"""Location of the documents; settings of constraints together with those they depend on."""

from pathlib import Path

import pytest

import ptylive.application.extensions  # noqa: F401


@pytest.fixture
def repository():
    return Path(__file__).resolve().parents[3]
