"""Whether a specimen is weak, as assumed by maps that are linear in it."""
