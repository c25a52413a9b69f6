"""Loops compiled by numba or run on a GPU; nothing outside this folder imports either."""
