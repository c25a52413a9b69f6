"""What the page suggests beside what is in use, each with a click that takes it: values, orientation, thickness."""
