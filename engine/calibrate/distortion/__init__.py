"""The distortion of a detector, measured on what is known to be regular or round."""
