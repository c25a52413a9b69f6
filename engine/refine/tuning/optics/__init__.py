"""Optics that nobody stated, determined by held-out patterns."""
