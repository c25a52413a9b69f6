"""Whether a specimen is weak, as maps that are linear in it take it to be."""
