"""Data terms that are one Python function, a file for each; those that backends compile stand with the backends."""
