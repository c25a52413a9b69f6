"""Pictures as the browser gets them: reduced to the resolution of a panel, with contrast limits and a version."""

from ptylive.dashboard.pictures.map_pictures import fft_picture
from ptylive.dashboard.pictures.picture import (
    FFT,
    MAP_SIDE,
    OVERWRITING,
    SLICE,
    SLICE_AMPLITUDE,
    SLICE_WHEEL,
    Corner,
    LabelledCircle,
    Picture,
    RawPicture,
    Surroundings,
)
from ptylive.dashboard.pictures.prepare import DERIVED_OF_A_RUN, is_slice, prepare, sources_of
from ptylive.dashboard.pictures.refined_pictures import middle_that_matters

__all__ = [
    "DERIVED_OF_A_RUN",
    "FFT",
    "MAP_SIDE",
    "OVERWRITING",
    "SLICE",
    "SLICE_AMPLITUDE",
    "SLICE_WHEEL",
    "Corner",
    "LabelledCircle",
    "Picture",
    "RawPicture",
    "Surroundings",
    "fft_picture",
    "is_slice",
    "middle_that_matters",
    "prepare",
    "sources_of",
]
