"""The sentences in which a refinement reports what its calibration cannot determine, and how to parse them.

An image from a wrong calibration can look like one of the specimen. The refinement, which detects this, and the
command, report and page, which warn of it, share these words.
"""

from __future__ import annotations

import re

_SAID = re.compile(r"calibration: cannot tell [^;]*")


def cannot_tell_words(what: str, why: str, remedy: str) -> str:
    """Describe what cannot be determined, why, and what to give."""
    return f"calibration: cannot tell {what}: {why} (give {remedy})"


def cannot_tell_sentences(text: str) -> tuple[str, ...]:
    """Find all such sentences in a text, in order."""
    return tuple(_SAID.findall(text))
