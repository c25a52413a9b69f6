"""An array module with its precision and its Fourier transforms, used by every block."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArrayKit:
    """numpy or cupy, in single or double precision. Transforms are unitary, over the last two axes."""

    xp: ModuleType
    complex: np.dtype[Any]

    @property
    def real(self) -> np.dtype[Any]:
        """Real type of the same precision."""
        return np.dtype(np.float32 if self.complex == np.complex64 else np.float64)

    def fft(self, wave: Any) -> Any:
        """Unitary transform."""
        return self._transforms.fft2(wave, norm="ortho")

    def inverse(self, spectrum: Any) -> Any:
        """Inverse, and adjoint, of :meth:`fft`."""
        return self._transforms.ifft2(spectrum, norm="ortho")

    def filtered(self, planes: Any, transfer: Any) -> Any:
        """Convolve real planes (n, P, P) with real kernels given by their transforms: (P, P), or (n, P, P)."""
        half = transfer[..., : planes.shape[-1] // 2 + 1]
        return self._transforms.irfft2(self._transforms.rfft2(planes) * half, s=planes.shape[-2:])

    @property
    def _transforms(self) -> Any:
        """Use scipy's transforms for numpy arrays: they keep single precision, numpy's do not."""
        if self.xp is np:
            import scipy.fft

            return scipy.fft
        return self.xp.fft

    def phase_factor(self, phase: Any) -> Any:
        """exp(i phase) of phases in double precision."""
        return self.xp.exp(1j * phase).astype(self.complex)

    def plane_ramp(self, rate: Any, coordinate: Any) -> Any:
        """exp(i rate . x): rates (n, 2), coordinates (P,) along both axes, result (n, 1, P, P)."""
        factors = self.phase_factor(rate[:, :, None] * coordinate)
        return (factors[:, 0, :, None] * factors[:, 1, None, :])[:, None]

    def moments(self, plane: Any, coordinate: Any) -> Any:
        """Sum x plane along both axes: planes (n, P, P) to (n, 2)."""
        rows = (plane.sum(axis=2) * coordinate).sum(axis=1)
        columns = (plane.sum(axis=1) * coordinate).sum(axis=1)
        return self.xp.stack([rows, columns], axis=1)
