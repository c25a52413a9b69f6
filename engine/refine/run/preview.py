"""Images of a parameter vector, for display during the refinement."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import Preview, projected_amplitude, wrapped_phase
from ptylive.schema.model import Array, ComplexArray


def build_preview(
    layout: ParameterLayout,
    backend: MultisliceBackend,
    vector: Any,
    pixel_A: float,
    deviation: PhaseDeviation | None = None,
) -> Preview:
    """Return images of a parameter vector; vectors are never modified, so this may be called at any time."""
    transmission, modes = layout.to_complex(backend.to_numpy(vector))
    mean = np.asarray(transmission.mean(axis=0), dtype=transmission.dtype)
    slices = np.stack([wrapped_phase(plane) for plane in mean])
    amplitude = projected_amplitude(mean)
    slice_amplitudes = None if amplitude is None else np.abs(mean).astype(np.float32)
    return Preview(slices.sum(axis=0), slices, real_space(modes), pixel_A, deviation, amplitude, slice_amplitudes)


def real_space(modes: Array) -> ComplexArray:
    """Transform modes (modes, P, P) from Fourier to real space, where waves are centred on pixel P // 2."""
    return np.asarray(np.fft.ifft2(modes, norm="ortho"), dtype=np.complex64)
