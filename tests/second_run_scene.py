"""A first run that ended, stand-ins for what runs then, and a record of it."""

from dataclasses import dataclass, field
from typing import Any

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.second_run import Incumbent, Runners, RunPlan, refined_in_turn
from ptylive.engine.refine.run.refinement import Observers
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset import Preset

NOISE, THICKNESS_A = 400.0, 120.0
LARGE = 13 * NOISE
THICK = Preset(num_slices=4, total_thickness_A=THICKNESS_A, probe_modes=1)


@dataclass(frozen=True)
class Result:
    """Stands for a refinement's result."""

    loss: tuple[float, ...]
    state: str = "done"
    reason: str = "4 slices"
    drift: Drift | None = None
    phases: tuple[str, ...] = ("sweep", "lbfgs")
    seconds: tuple[float, ...] = (1.0, 1.0)
    noise: float | None = NOISE
    likelihood_over_noise: float | None = None
    model_error: float | None = None

    @property
    def loss_over_noise(self) -> float | None:
        return None if self.noise is None else self.loss[-1] / self.noise


@dataclass(frozen=True)
class Came:
    """Stands for the outcome of a refinement."""

    result: Result
    calibration: Any = None
    preset: Preset = THICK
    slices: int = 4
    half_turn: bool = False
    orientation: Any = None
    curves: tuple[Curve, ...] = ()
    words: tuple[str, ...] = ()
    from_columns: bool = False
    turned_by_phase: bool = False


def came(loss: float, state: str = "done", left: float | None = None, **other: Any) -> Any:
    """The outcome of a refinement with this loss at its end, ``left`` times the likelihood of counting noise."""
    return Came(Result((9000.0, loss), state, likelihood_over_noise=left), **other)


def progress(message: str, state: Any) -> Progress:
    return Progress(state, "lbfgs", 1, 1, 1.0, 1.0, 0.0, 1.0, message)


@dataclass
class Scene:
    """A scan and how its first run ended."""

    dataset: Any
    first: Any
    preset: Preset = THICK
    middles: list[RunPlan] = field(default_factory=list)
    scans: list[tuple[RunPlan, Observers]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def incumbent(self, alternatives: Any, *second: Any, middle: tuple[Any, ...] = (), **files: Any) -> Incumbent:
        """What stands if further runs end as ``second``, and those of the middle as ``middle``, in their order."""
        outcomes, of_middles = [self.first, *second], list(middle)

        def came_of(outcome: Any) -> Any:
            if isinstance(outcome, RefinementError):
                raise outcome
            return outcome

        def of_middle(plan: RunPlan) -> Any:
            self.middles.append(plan)
            return came_of(of_middles.pop(0))

        def of_scan(plan: RunPlan, observers: Observers) -> Any:
            self.scans.append((plan, observers))
            record = came_of(outcomes.pop(0))
            observers.on_progress(progress(f"run {len(self.scans)}", record.result.state))
            return record

        def tell(one: Progress) -> None:
            if one.state == "done":
                self.told.append(one.message)

        identity = checkpoints.Identity("here")
        observers = Observers(tell, lambda: False, **{"checkpoint": None, "identity": identity, **files})
        plan, context = RunPlan(self.dataset, self.preset), TrialContext("cpu", tell=lambda words: None)
        return refined_in_turn(plan, alternatives, observers, context, Runners(of_middle, of_scan))
