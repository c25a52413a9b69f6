"""What a refinement starts from: an object or images that the preset names, or columns that one slice shows."""
