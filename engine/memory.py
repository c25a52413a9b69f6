"""Check that an array fits into memory before it is allocated: its size may follow from numbers in a file."""

from __future__ import annotations

import math
import sys

import psutil

from ptylive.schema import MetadataError


def available_bytes() -> float:
    """Memory that this process may still take: what is free, within the limit it was given."""
    return min(float(psutil.virtual_memory().available), _left_of_limit())


def _left_of_limit() -> float:
    if sys.platform == "win32":
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else float(max(0, limit - psutil.Process().memory_info().vms))


def check_fits(needed_bytes: float, what: str, remedy: str) -> None:
    """Raise MetadataError where ``what`` would take more memory than there is."""
    free = available_bytes()
    if not math.isfinite(needed_bytes) or needed_bytes > free:
        raise MetadataError(f"{what} would take {needed_bytes / 1e9:.3g} GB, {free / 1e9:.3g} GB are free", remedy)
