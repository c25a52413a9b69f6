"""dashboard/panels."""
