"""The sentences in which a refinement says what of its calibration could not be told, and how they are read.

A picture of a wrong calibration looks like one of the specimen. Who finds out (the refinement) and who warns (command,
report, page) share these words.
"""

from __future__ import annotations

import re

_SAID = re.compile(r"calibration: cannot tell [^;]*")


def cannot_tell_words(what: str, why: str, remedy: str) -> str:
    """What cannot be told, why, and what to give."""
    return f"calibration: cannot tell {what}: {why} (give {remedy})"


def heard_cannot_tell(text: str) -> tuple[str, ...]:
    """All such sentences in a text, in their order."""
    return tuple(_SAID.findall(text))
