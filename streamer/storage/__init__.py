"""Native HDF5 files: reading them (source), making them from journals (recording, recorder), finding them again."""
