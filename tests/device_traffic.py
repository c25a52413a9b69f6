"""What passes between host and device in a test."""

from dataclasses import dataclass


@dataclass
class Traffic:
    """How often the host waited for the device (to_host), and how often it sent something (to_device)."""

    to_host: int = 0
    to_device: int = 0
    products: int = 0
    """Of matrices or vectors, which cupy hands to cuBLAS."""
    numbers: list | None = None
    """Of the host that the device was handed since this was a list: the same ones whenever a recording is repeated."""

    def reset(self) -> None:
        """Count from 0."""
        self.to_host = self.to_device = 0
