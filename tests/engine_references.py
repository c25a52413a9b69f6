"""Reference implementations of ePIE and LSQ-ML after their papers, pattern by pattern in double precision.

They share nothing with the engines but the numbers with which they start.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.by_name import engine_of
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.preset import Preset

START_RAD = 0.05
RIDGE = 0.1


def laid_out(dataset, *, absorbing=False, **settings):
    """A problem whose object starts with some noise: behind an empty object the dark field is only rounding.

    absorbing: its modulus has any value from 0.4 to 1.
    """
    values = {"window_px": 24, "probe_modes": 1, "algorithm": "lsq_sqrt", **settings}
    preset = Preset.from_mapping(values)
    problem = prepare(dataset, preset, None)
    rng = np.random.default_rng(8)
    start = problem.layout.start(START_RAD * rng.standard_normal((problem.layout.planes, *problem.grid.shape)))
    if absorbing:
        planes = problem.layout.object_block(start).reshape(2, -1)
        planes *= rng.uniform(0.4, 1, planes.shape[1])
    return problem, preset, start


def engine(problem, preset, dtype="complex64"):
    """The engine that a preset names, on arrays in host memory."""
    backend = GeneralMultislice(problem.multislice, np, dtype, "arrays")
    layout, scale = problem.layout, problem.strategy.curvature_scale
    objective = Objective(backend, layout, problem.multislice.count, curvature_scale=scale)
    return engine_of(problem, preset.solver, objective)


def finished(solver, state):
    """The state after the last step."""
    while not solver.finished(state):
        state = solver.step(state)
    return state


@dataclass
class Reference:
    """A reconstruction of one slice; object (Y, X), probe (modes, P, P) in real space."""

    problem: object
    object: np.ndarray
    probe: np.ndarray
    curve: list = field(default_factory=list)

    @classmethod
    def of(cls, problem, start):
        """Build it from a vector of parameters, with a single object state."""
        transmission, modes = problem.layout.to_complex(start)
        probe = np.fft.ifft2(modes.astype(complex), norm="ortho")
        return cls(problem, transmission[0, 0].astype(complex), probe)

    def window(self, n):
        """Window of pattern n in the object."""
        row, column = self.problem.multislice.corners[n]
        size = self.probe.shape[-1]
        return slice(row, row + size), slice(column, column + size)

    def moved(self, waves, n, back=1):
        """Waves moved by the subpixel part of position n, or back."""
        frequency = np.fft.fftfreq(waves.shape[-1])
        row, column = back * self.problem.multislice.shifts_px[n]
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * row + frequency * column))
        return np.fft.ifft2(np.fft.fft2(waves) * ramp)

    def correction(self, n):
        """The probe there, the object's window, and the change of the exit wave towards the measured moduli."""
        given = self.problem.multislice
        probe, window = self.moved(self.probe, n), self.object[self.window(n)]
        far = np.fft.fft2(probe * window, norm="ortho")
        intensity, counts = (abs(far) ** 2).sum(0), given.patterns[n].astype(float)
        loss = (given.weights * (np.sqrt(intensity) - np.sqrt(counts)) ** 2).sum()
        to_counts = given.weights * (np.sqrt(counts / np.maximum(intensity, 1e-300)) - 1)
        return probe, window, np.fft.ifft2(far * to_counts, norm="ortho"), loss

    def epie(self, batches, object_step=1.0, probe_step=1.0):
        """One epoch of ePIE; in its parallel form if batches hold several patterns."""
        total = 0.0
        for batch in batches:
            of_object, of_probe = np.zeros_like(self.object), np.zeros_like(self.probe)
            light, seen = np.zeros(self.object.shape), np.zeros(self.probe.shape[-2:])
            for n in batch:
                probe, window, chi, loss = self.correction(n)
                of_object[self.window(n)] += (probe.conj() * chi).sum(0)
                of_probe += self.moved(window.conj() * chi, n, back=-1)
                light[self.window(n)] += (abs(self.probe) ** 2).sum(0)
                seen += abs(window) ** 2
                total += loss
            self.object = self.object + object_step * of_object / light.max()
            self.probe = self.probe + probe_step * of_probe / seen.max()
        self.curve.append(total / self.problem.multislice.count)

    def lsq_ml(self, batches, damping=0.1):
        """One epoch of LSQ-ML."""
        total = 0.0
        for batch in batches:
            of_object, of_probe = np.zeros_like(self.object), np.zeros_like(self.probe)
            light, seen, kept = np.zeros(self.object.shape), np.zeros(self.probe.shape[-2:]), []
            own_light = (abs(self.probe) ** 2).sum(0)
            for n in batch:
                probe, window, chi, loss = self.correction(n)
                of_object[self.window(n)] += (probe.conj() * chi).sum(0)
                of_probe += self.moved(window.conj() * chi, n, back=-1)
                light[self.window(n)] += own_light
                seen += abs(window) ** 2
                kept.append((n, probe, window, chi))
                total += loss
            of_object /= light + damping * light.max()
            of_probe /= seen + damping * seen.max()
            lengths = self.lengths(kept, of_object, of_probe)
            by_object, by_probe = np.zeros(light.shape), np.zeros(seen.shape)
            for (n, _, window, _), (a, b) in zip(kept, lengths, strict=True):
                by_object[self.window(n)] += a * own_light
                by_probe += b * abs(window) ** 2
            self.object = self.object + of_object * by_object / (light + damping * light.max())
            self.probe = self.probe + of_probe * by_probe / (seen + damping * seen.max())
        self.curve.append(total / self.problem.multislice.count)

    def lengths(self, kept, of_object, of_probe):
        """Lengths of both steps for each pattern, by least squares on the exit wave."""
        systems, right = [], []
        for n, probe, window, chi in kept:
            changes = np.stack(
                [(of_object[self.window(n)] * probe).ravel(), (self.moved(of_probe, n) * window).ravel()]
            )
            systems.append((changes.conj() @ changes.T).real)
            right.append((changes.conj() @ chi.ravel()).real)
        ridge = RIDGE * np.diag(np.mean(systems, axis=0).diagonal())
        return [np.maximum(np.linalg.solve(one + ridge, b), 0) for one, b in zip(systems, right, strict=True)]


def apart(found, reference):
    """Largest relative difference of two curves."""
    return float(np.abs(np.asarray(found) / np.asarray(reference) - 1).max())
