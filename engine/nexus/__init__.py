"""Results files in the form that NeXus programs read."""
