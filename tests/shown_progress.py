"""Progress that a command shows to the user at the terminal, kept for tests."""

import math

from ptylive.engine.refine.results.refinement_result import Progress


class Updates:
    """Keeps what a progress bar was told."""

    def __init__(self):
        self.updates = []

    def update(self, done, total=None, text=None):
        self.updates.append((done, total, text))


def progress(phase, *, epoch, epochs, loss=math.nan, message=""):
    """A step of a refinement, of which only what is shown matters."""
    return Progress("running", phase, epoch, epochs, loss, 1.0, 1.0, 1.0, message)
