"""Files of other programs: opened here, each by the library that knows it, and read as a source of frames."""
