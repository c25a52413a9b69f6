"""Refinements in separate processes: their queue, their jobs, and the rows of a running scan."""
