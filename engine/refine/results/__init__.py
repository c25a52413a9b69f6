"""What a refinement reports while it runs, and what comes out of it."""
