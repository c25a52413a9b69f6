"""Evidence from which the thickness of a specimen is determined."""
