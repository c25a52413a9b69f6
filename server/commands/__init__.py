"""Commands of the control protocol, by what they act on."""
