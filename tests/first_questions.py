"""Questions that newcomers ask, and words that stand one click from the start page, below the heading that it names.

The words are looked for in the Markdown with every change, and in the site when it is built.
"""

import re

ANSWERS = {
    "Which way is up?": "The top of a map is the first row of the scan",
    "What is tcBF?": "moves the image of each pixel back into place",
    "Why is my map black?": "contrast follows the data",
    "How do I send frames?": "with LiveScan(",
    "How do I add a loss?": '@data_term( "cube_roots"',
}


def holds(text: str, words: str) -> bool:
    """Whether a text has these words, however it is marked up and broken into lines."""
    return re.sub(r"\s", "", words) in re.sub(r"[\s`*]", "", text)
