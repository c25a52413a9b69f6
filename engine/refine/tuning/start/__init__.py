"""Start of a refinement for which the preset names a file: an object, or images of one."""
