"""Commands of the control protocol, grouped by what they act on."""
