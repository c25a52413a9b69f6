"""Loss with gradients of every forward model relative to the plain one: ratio of CPU time per pattern.

    python benchmarks/refine_models.py [--window 64] [--slices 1 4] [--rounds 5] [--arrays] [--double] [--only WORD]

Each model is measured in turn with the plain far field (of as many slices and modes), ``--rounds`` times; the ratio is
the median over the rounds. ``--arrays`` also measures whole arrays (scipy), the previous implementation, in the same
precision. ``--double``: in double precision, against the plain far field in single. Compilation is excluded.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.multislice.description import (
    AberrationGroups,
    CompressedPatterns,
    ForwardModel,
    NearField,
    PerpendicularTerm,
    PointSpread,
    SplitStep,
    Tilts,
)
from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import (
    HELD,
    CoefficientTermKind,
    Corrections,
    DataTerm,
    DataTermKind,
    MultisliceProblem,
    Precision,
)

PIXEL_A, WAVELENGTH_A, THICKNESS_A, SECONDS = 0.2, 0.0197, 10.0, 0.25
Case = tuple[MultisliceProblem, Corrections, int]
"""Problem, what is refined besides object and probe, number of probes."""


def plain(window: int, slices: int, count: int) -> MultisliceProblem:
    """Random patterns of the far field, with a description of further effects in which all are switched off."""
    rng, q = np.random.default_rng(0), np.fft.fftfreq(window, PIXEL_A)
    phase_per_A = -np.pi * WAVELENGTH_A * (q[:, None] ** 2 + q[None, :] ** 2)
    return MultisliceProblem(
        patterns=rng.poisson(3, (count, window, window)).astype(np.uint16).swapaxes(1, 2),
        weights=np.ones((window, window), np.float32),
        corners=rng.integers(0, 40, (count, 2)),
        shifts_px=rng.random((count, 2)) - 0.5,
        object_shape=(slices, window + 40, window + 40),
        propagators=np.repeat(np.exp(1j * phase_per_A * THICKNESS_A)[None], slices - 1, axis=0),
        data_term=DataTerm(DataTermKind.AMPLITUDE, 0.05),
        phase_per_A=phase_per_A,
        model=ForwardModel(PIXEL_A, WAVELENGTH_A, (THICKNESS_A,) * slices),
    )


def cases(base: MultisliceProblem) -> Iterator[tuple[str, Case]]:
    """Every code path by its name."""
    rng, count, size = np.random.default_rng(1), base.count, base.window
    model = base.model
    assert model is not None

    def variant(**parts: Any) -> MultisliceProblem:
        return replace(base, model=replace(model, **parts))

    tangents = 2e-3 * rng.normal(size=(count, 6))
    yield "descan", (replace(base, model=None, offsets_px=rng.normal(size=(count, 2))), HELD, 1)
    for name, mode in (("before", 2), ("inside", 0), ("behind", 1), ("of all kinds", 4)):
        problem = variant(tilts=Tilts(tangents, mode))
        yield f"tilts {name}, given", (problem, HELD, 1)
        yield f"tilts {name}, refined", (problem, Corrections(tilts=tangents), 1)
    groups = variant(aberrations=aberrations(count, size))
    assert groups.model is not None and groups.model.aberrations is not None
    yield "aberrations of each pattern, given", (groups, HELD, 1)
    yield "the same, refined", (groups, Corrections(aberrations_A=groups.model.aberrations.values_A), 1)
    yield "two probes", (variant(probe_marker=np.arange(count) % 2, probes=2), HELD, 2)
    varying = Corrections(
        opr_components=rng.normal(size=(2, 4, size, size)).astype(np.float32),
        opr_coefficients=rng.normal(size=(count, 4)).astype(np.float32),
    )
    yield "a probe that varies, 4 components", (variant(varying_modes=1), varying, 1)
    yield (
        "phase plates",
        (variant(phase_plates=np.exp(1j * rng.normal(size=(count, size, size))).astype(np.complex64)), HELD, 1),
    )
    stretch = Corrections(stretch=0.1 * rng.normal(size=count))
    yield "a thickness that varies, refined", (variant(stretched=True), stretch, 1)
    image = NearField(rng.normal(size=count) * 100, 1e4, 0.0)
    yield "near field", (variant(near_field=image), HELD, 1)
    yield "near field, incident angles", (variant(near_field=replace(image, alpha_rad=1e-3)), HELD, 1)
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    yield "a band limit", (variant(band=np.clip((0.33 - q) * 20, 0, 1).astype(np.float32)), HELD, 1)
    yield "better_multislice", (variant(split=SplitStep.SECOND_ORDER), HELD, 1)
    yield "yoshida", (variant(split=SplitStep.FOURTH_ORDER), HELD, 1)
    yield "the detector's point spread", (variant(spread=PointSpread(0.5)), HELD, 1)
    for kind in (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT):
        problem = variant(compressed=coefficients(count, size))
        yield f"45 + 1 coefficients, {kind}", (replace(problem, data_term=DataTerm(kind, 0.05)), HELD, 1)


def aberrations(count: int, size: int) -> AberrationGroups:
    """Defocus and both astigmatisms of every pattern."""
    q = np.fft.fftfreq(size, PIXEL_A)
    y, x = q[:, None] + 0 * q, q[None, :] + 0 * q[:, None]
    rates = np.pi * WAVELENGTH_A * np.stack([y**2 + x**2, y**2 - x**2, 2 * x * y])
    return AberrationGroups(
        rates.astype(np.float32), np.random.default_rng(2).normal(size=(count, 3)), np.arange(count)
    )


def coefficients(count: int, size: int) -> CompressedPatterns:
    """45 orthonormal masks within a bright field of a quarter of the window, and one of all that lies outside."""
    rng, radius = np.random.default_rng(3), np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    inside = (radius < 0.25).ravel()
    masks = np.zeros((46, size * size), np.float32)
    masks[:45, inside] = np.linalg.qr(rng.normal(size=(inside.sum(), 45)))[0].T
    masks[45, ~inside] = (~inside).sum() ** -0.5
    rest = PerpendicularTerm(inside.astype(np.float32), np.arange(45), rng.random(count).astype(np.float32), 0.01)
    return CompressedPatterns(rng.random((count, 46)).astype(np.float32), masks, None, (rest,), None)


def evaluation(case: Case, opened: Callable[[MultisliceProblem], Any], modes: int = 1) -> Callable[[], Any]:
    """Loss and gradient of a case, as a function without arguments."""
    problem, corrections, probes = case
    backend, size = opened(problem), problem.window
    planes = np.zeros((2, *problem.object_shape), problem.precision.real)
    planes[0], planes[1] = 0.9, 0.1
    probe = np.random.default_rng(1).normal(size=(2, modes * probes, size, size)).astype(problem.precision.real)

    def run() -> str:
        backend.loss_and_gradient(planes, probe, corrections=corrections)
        return str(backend.name)

    return run


def seconds(run: Callable[[], Any]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--slices", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arrays", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    use_persistent_cache()
    print(time.strftime("%Y-%m-%d %H:%M"), f"load {os.getloadavg()[0]:.1f}, window {given.window}")
    print(
        "| model | slices | patterns per CPU s | plain / this | whole arrays: plain / this | runs on |\n"
        + "| --- " * 6
        + "|"
    )
    with threadpool_limits(limits=1):
        for slices in given.slices:
            measure(given, slices)


def measure(given: argparse.Namespace, slices: int) -> None:
    """Rows of the table for one number of slices."""
    count = max(16, int(2048 * 64**2 / (slices * given.window**2)))
    base = plain(given.window, slices, count)
    yardstick = evaluation((replace(base, model=None), HELD, 1), lambda problem: open_backend("cpu", problem))
    yardstick()
    plain_too: list[tuple[str, Case]] = [("plain", (replace(base, model=None), HELD, 1))] if given.double else []
    for name, case in [*plain_too, *cases(base)]:
        if given.only not in name:
            continue
        if given.double:
            case = (replace(case[0], precision=Precision.DOUBLE), *case[1:])  # noqa: PLW2901
        run = evaluation(case, lambda problem: open_backend("cpu", problem))
        backend, ratios, slow, times = run(), [], [], []
        arrays = evaluation(
            case, lambda problem: GeneralMultislice(problem, np, problem.precision.complex.name, "arrays")
        )
        for number in range(given.rounds):
            reference = seconds(yardstick)
            times.append(seconds(run))
            ratios.append(times[-1] / reference)
            if given.arrays and number < 2:
                slow.append(seconds(arrays) / reference)
        before = f"{np.median(slow):.1f}" if slow else ""
        rate = count / np.median(times)
        print(f"| {name} | {slices} | {rate:.0f} | {np.median(ratios):.2f} | {before} | {backend} |", flush=True)


if __name__ == "__main__":
    main()
