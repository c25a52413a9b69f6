"""What is decided and corrected before a refinement's first epoch."""
