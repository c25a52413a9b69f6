"""What a refinement begins from where the preset names a file: an object, or images of one."""
