"""Optics that nobody stated, settled by patterns held out."""
