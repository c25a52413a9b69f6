"""Whether PyTorch is there, asked before anything is refined; nothing of it is loaded for that."""

from __future__ import annotations

import importlib.util
import sys

from ptylive.schema.errors import RefinementError

INSTALL = "pip install 'ptylive[dgp]'"


def missing() -> str:
    """Why networks cannot be trained, in words; the empty string where they can."""
    if "torch" not in sys.modules and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    try:
        import torch

        return "" if hasattr(torch, "nn") else "what is installed as torch is not PyTorch"
    except Exception as error:  # a library of its own that is missing, or one that does not suit this processor
        return f"PyTorch does not start ({' '.join(str(error).split())[:100]})"


def require() -> None:
    """Raise RefinementError where networks cannot be trained."""
    reason = missing()
    if reason:
        raise RefinementError(f"method=dgp: {reason}", f"{INSTALL}, or leave the setting method out")
