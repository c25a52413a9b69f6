"""Distortion of a detector, measured on features known to be regular or round."""
