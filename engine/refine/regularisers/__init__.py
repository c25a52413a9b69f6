"""What is known of the answer beforehand, one regulariser or constraint a module (PyPty's two tables)."""
