"""Refinements in processes of their own: their queue, their jobs, rows of a scan that still runs."""
