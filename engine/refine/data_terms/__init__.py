"""Data terms that are one Python function, one file each; those compiled by backends are defined in the backends."""
