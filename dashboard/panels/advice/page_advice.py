"""All suggestions of one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.panels.advice.advisor import Advisors
from ptylive.dashboard.panels.advice.alignment import AlignmentPanel
from ptylive.dashboard.panels.advice.decision import DecisionAdvice, Form
from ptylive.dashboard.panels.advice.depth import DepthAdvice
from ptylive.dashboard.panels.advice.first_maps import FirstMaps
from ptylive.dashboard.panels.advice.guide import Guide
from ptylive.dashboard.panels.advice.orientations import OrientationChoice
from ptylive.dashboard.panels.advice.values_beside import ValuesBeside
from ptylive.dashboard.panels.maps import MapPanel


class PageAdvice(Advisors):
    """All suggestions; ``picked``: whether a point is marked; ``take_over``: puts settings into the refine ``form``."""

    def __init__(
        self,
        orders: Orders,
        panels: Sequence[MapPanel],
        picked: Callable[[], bool],
        take_over: Callable[[dict[str, Any]], None],
        form: Callable[[], Form],
    ) -> None:
        values_beside = ValuesBeside(orders)
        self.first_maps = FirstMaps(panels, lambda: values_beside.strength)
        self.guide = Guide(picked)
        depth = (DepthAdvice(take_over), DecisionAdvice(orders, form))
        super().__init__(
            [values_beside, self.first_maps, OrientationChoice(orders), AlignmentPanel(orders), *depth, self.guide]
        )
