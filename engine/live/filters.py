"""All filters of one setting, built together and swapped together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ptylive.engine.live.maps.obf import OptimumBrightField
from ptylive.engine.live.maps.tcbf import TiltCorrected
from ptylive.engine.live.maps.wdd import WignerDeconvolution
from ptylive.engine.live.setting import Setting
from ptylive.schema.model import DoubleArray

FILTERED = ("tcbf", "obf", "wdd")
"""Methods that need filters."""


@dataclass(frozen=True, eq=False)
class FilterSet:
    """Filters of the methods asked for; ``key`` tells which calibration they belong to."""

    key: object
    setting: Setting
    tcbf: TiltCorrected | None
    obf: OptimumBrightField | None
    wdd: WignerDeconvolution | None

    @classmethod
    def build(cls, key: object, setting: Setting, mean: DoubleArray, methods: Iterable[str]) -> FilterSet:
        """Build the filters of ``methods``; ``mean`` (bins,) mean coefficients of patterns of unit sum."""
        wanted = set(methods)
        return cls(
            key=key,
            setting=setting,
            tcbf=TiltCorrected.build(setting) if "tcbf" in wanted else None,
            obf=OptimumBrightField.build(setting, mean) if "obf" in wanted else None,
            wdd=WignerDeconvolution.build(setting) if "wdd" in wanted else None,
        )
