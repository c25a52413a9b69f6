"""Whether PyTorch is available, checked before anything is refined and without importing it."""

from __future__ import annotations

import importlib.util
import sys

from ptylive.schema.errors import RefinementError

INSTALL = "pip install 'ptylive[dgp]'"


def missing() -> str:
    """Why networks cannot be trained, in words; empty if they can."""
    if "torch" not in sys.modules and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    try:
        import torch

        return "" if hasattr(torch, "nn") else "the package installed as torch is not PyTorch"
    except Exception as error:  # a missing library that it depends on, or one built for another processor
        return f"PyTorch does not start ({' '.join(str(error).split())[:100]})"


def require() -> None:
    """Raise RefinementError if networks cannot be trained."""
    reason = missing()
    if reason:
        raise RefinementError(f"method=dgp: {reason}", f"{INSTALL}, or leave the setting method out")
