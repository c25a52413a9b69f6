"""Continuing or repeating a refinement after its result has been examined."""
