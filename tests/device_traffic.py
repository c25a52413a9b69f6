"""Transfers between host and device in a test."""

from dataclasses import dataclass


@dataclass
class Traffic:
    """Counts of how often the host waited for the device (to_host), and how often it sent something (to_device)."""

    to_host: int = 0
    to_device: int = 0
    products: int = 0
    """Number of products of matrices or vectors, which cupy passes to cuBLAS."""
    numbers: list | None = None
    """Host numbers passed to the device since this became a list: the same whenever a recording is replayed."""

    def reset(self) -> None:
        """Restart the counts at 0."""
        self.to_host = self.to_device = 0
