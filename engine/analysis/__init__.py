"""What a reconstruction is worth: rings and shells of correlation, profiles, modes, transfer (PyPty's ``vaa``)."""
