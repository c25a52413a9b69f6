"""Compressed recordings in the refinement: masks in the model's window, coefficients, their mean pattern.

Least squares of coefficients weight them by their noise unless the settings disable it: with counts whose variance
equals their mean, C = M diag(mean) M^T is the covariance of the coefficients. With C = L L^T, the choice W = L^-1 / 2
makes sum |W (s - D)|^2 as large as the amplitude loss of the same misfit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.description import CompressedPatterns, PerpendicularTerm
from ptylive.engine.backend.multislice.problem import CoefficientTermKind
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.problem.strategy import PEAK, Strategy
from ptylive.schema.errors import MetadataError, RefinementError
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray
from ptylive.schema.preset.loss import LossSettings

LEAST_MEAN = 1e-3
"""Mean counts below this share of the largest are raised to it: their estimate is not more certain."""
FLOOR_SHARE = 0.1
"""Floor of poisson_compressed as a share of the smallest mean coefficient."""
MOST_OVER_NOISE = 100.0
"""Largest weight of a perpendicular length over that by its counting noise. On simulated scans 20 to 30 cost 0 to 0.02
of the object's correlation, 200 to 300 cost 0.05 to 0.2, and with 3000 no step of a sweep lowers the loss."""
ROUNDING = float(np.finfo(np.float32).eps)
"""Relative rounding of masks. A sum of K masks, each scaled to unit variance, whose variance is K times its square is
due to rounding: the masks depend on each other."""
SIGNED = (CoefficientTermKind.LEAST_SQUARES, CoefficientTermKind.ROOT)
"""Losses that accept coefficients of either sign."""


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of a scan with their masks in the window, zero frequency at [0, 0]."""

    masks: FloatArray
    """(K, P * P) masks."""
    dataset: Dataset
    mean: DoubleArray
    """(P * P,) mean pattern, in counts, corresponding to the mean coefficients."""

    @classmethod
    def of(cls, dataset: Dataset, size: int) -> tuple[Coefficients, ScanWindow]:
        """Place the masks in a window of ``size`` pixels; the window's patterns repeat the mean pattern."""
        if dataset.masks is None:
            raise ValueError("the data set holds frames")
        basis = MaskBasis(dataset.basis.kind, np.ascontiguousarray(dataset.masks), dataset.basis.n_bright)
        mean = _mean_pattern(dataset, basis)
        window = ScanWindow.of(replace(dataset, patterns=mean.astype(np.float32)[None]), size)
        masks = [ScanWindow.of(replace(dataset, patterns=part), size).patterns for part in _parts(basis.masks)]
        flat = np.ascontiguousarray(masks[0] - masks[1], dtype=np.float32).reshape(basis.count, -1)
        count = len(dataset.patterns)
        repeated = np.broadcast_to(window.patterns, (count, window.size, window.size))
        return cls(flat, dataset, window.patterns[0].astype(float).ravel()), replace(window, patterns=repeated)

    @property
    def values(self) -> FloatArray:
        """(N, K) recorded coefficients."""
        return np.asarray(self.dataset.patterns[:, : len(self.masks)], dtype=np.float32)

    def recorded(self, name: str) -> FloatArray | None:
        """(N,) a quantity recorded along with the coefficients; None if it was not."""
        names = self.dataset.basis.extra
        if name not in names:
            return None
        return np.asarray(self.dataset.patterns[:, len(self.masks) + names.index(name)], dtype=np.float32)

    def strategy(self, strategy: Strategy, settings: LossSettings) -> Strategy:
        """Set the loss for these coefficients in the strategy. Raises RefinementError if it does not suit them."""
        kind = self._kind(settings)
        of_masks = max(1.0, float(self.masks.sum(axis=0).max()))
        curvature_scale = {
            CoefficientTermKind.ROOT: 1.0,
            CoefficientTermKind.LEAST_SQUARES: PEAK if settings.noise_weighting else 4 * PEAK * float(self.mean.max()),
            CoefficientTermKind.GAUSS: of_masks,
            CoefficientTermKind.POISSON: of_masks,
        }[kind]
        reason = f"{strategy.reason.split(';')[0]}; {kind} of {len(self.masks)} {self.dataset.basis.kind} coefficients"
        offset = 0.0
        if kind is CoefficientTermKind.POISSON:  # the starting model is dark where the first electrons are scattered to
            smallest = FLOOR_SHARE * max(float(self.values.mean(axis=0).min()), LEAST_MEAN)
            offset = smallest if isinstance(settings.loss_floor, str) else settings.loss_floor
        return replace(strategy, kind=kind, curvature_scale=curvature_scale, reason=reason, offset=offset)

    def compressed(self, settings: LossSettings, strategy: Strategy) -> CompressedPatterns:
        """Data that the backend compares; only those of the bright field if the strategy is limited to it."""
        kind, n_bright = CoefficientTermKind(str(strategy.kind)), self.dataset.basis.n_bright
        if strategy.bright_field_only and 0 < n_bright < len(self.masks):
            whiten = kind is CoefficientTermKind.LEAST_SQUARES and settings.noise_weighting
            bright = self.masks[:n_bright]
            return CompressedPatterns(self.values[:, :n_bright], bright, self._whitening(bright) if whiten else None)
        masks, values = self.masks, self.values
        edge = self.recorded("edge")
        unseen = ~(masks != 0).any(axis=0)
        if edge is not None and kind is CoefficientTermKind.LEAST_SQUARES and (measured := self._edge(unseen)).any():
            norm = np.sqrt(np.float32(measured.sum()))
            masks = np.concatenate([masks, (measured / norm)[None].astype(np.float32)])
            values = np.concatenate([values, (edge / norm)[:, None]], axis=1)
        whiten = kind is CoefficientTermKind.LEAST_SQUARES and settings.noise_weighting
        return CompressedPatterns(
            values=values,
            masks=masks,
            whitening=self._whitening(masks) if whiten else None,
            perpendicular=self._perpendicular(settings, kind),
            edge=settings.edge_weight * unseen.astype(np.float32) if settings.edge_weight > 0 else None,
        )

    def _kind(self, settings: LossSettings) -> CoefficientTermKind:
        rooted = self.dataset.basis.of == "sqrt_intensity"
        if settings.algorithm == "auto":
            return CoefficientTermKind.ROOT if rooted else CoefficientTermKind.LEAST_SQUARES
        if settings.algorithm not in list(CoefficientTermKind):
            raise RefinementError(
                f"algorithm = {settings.algorithm} compares patterns, and the recording holds coefficients",
                "use algorithm=auto or one of " + ", ".join(CoefficientTermKind),
            )
        kind = CoefficientTermKind(settings.algorithm)
        if rooted is not (kind is CoefficientTermKind.ROOT):
            projected = "square roots" if rooted else "intensities"
            raise RefinementError(f"{kind} is not suitable for coefficients of {projected}", "use algorithm=auto")
        if kind not in SIGNED and ((self.masks < 0).any() or (self.values < 0).any()):
            raise RefinementError(
                f"{kind} needs masks and coefficients at or above 0; {self.dataset.basis.kind} has others",
                "use lsq_compressed, or binning",
            )
        return kind

    def _edge(self, unseen: BoolArray) -> BoolArray:
        """Pixels of the detector that no mask covers (P * P,), whose sum is the extra ``edge``."""
        good = np.where(self.dataset.bad_pixels, 0, 1).astype(np.float32)
        size = round(self.masks.shape[1] ** 0.5)
        on_detector = ScanWindow.of(replace(self.dataset, patterns=good[None]), size).patterns[0].ravel() > 0
        return np.asarray(on_detector & unseen)

    def _whitening(self, masks: FloatArray) -> FloatArray:
        """Matrix W (K, K). Raises RefinementError if masks depend on each other, or one has no pixel in the window."""
        mean = np.maximum(self.mean, LEAST_MEAN * self.mean.max())
        covariance = (masks * mean) @ masks.T.astype(float)
        deviation = np.sqrt(np.diagonal(covariance))
        independent = deviation.min() > 0
        if independent:
            variances = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))  # ascending
            independent = variances[0] > len(masks) * ROUNDING**2 * variances[-1]
        if not independent:
            raise RefinementError(
                "the masks depend on each other in the window, so coefficients have no noise of their own",
                "give a larger window_px, or set noise_weighting=false",
            )
        return np.asarray(0.5 * np.linalg.inv(np.linalg.cholesky(covariance)), dtype=np.float32)

    def _perpendicular(self, settings: LossSettings, kind: CoefficientTermKind) -> tuple[PerpendicularTerm, ...]:
        """Terms of the regions whose perpendicular length was recorded. Raises MetadataError if none was, or if one
        would outweigh the coefficients.
        """
        bright, dark = settings.perpendicular_weight, settings.perpendicular_weight_dark
        weights = {"perp_bright": bright, "perp_dark": bright if dark is None else dark}
        if not any(weights.values()):
            return ()
        n, count = self.dataset.basis.n_bright, len(self.masks)
        terms = []
        for name, rows in (("perp_bright", np.arange(n)), ("perp_dark", np.arange(n, count))):
            measured = self.recorded(name)
            if measured is not None and len(rows) and weights[name] > 0:
                region = (self.masks[rows] != 0).any(axis=0).astype(np.float32)
                term = PerpendicularTerm(region, rows, measured, weights[name])
                if kind is not CoefficientTermKind.ROOT:
                    self._check_weight(term, settings, plain=kind is CoefficientTermKind.LEAST_SQUARES)
                terms.append(term)
        if not terms:
            raise MetadataError("perpendicular_weight: the recording holds no perp_bright or perp_dark", "leave it out")
        return tuple(terms)

    def _check_weight(self, term: PerpendicularTerm, settings: LossSettings, *, plain: bool) -> None:
        """Raise MetadataError if a length of intensities weighs far more than its counting noise allows.

        The length p = sum I_r^2 + (what counts scatter), I_r the part of I that the masks leave out, has about the
        variance sum I (2 I_r + 1)^2, and a loss as large as that of amplitudes has the weight 1 / (4 variance).
        ``plain``: coefficients may be compared without weights by noise (``noise_weighting``).
        """
        inside = term.region > 0
        variance = float(self.mean[inside].mean()) * (4 * float(term.measured.mean()) + int(inside.sum()))
        if not 0 < variance < np.inf:
            return
        unweighted = plain and not settings.noise_weighting
        by_noise = (4 * float(self.mean.max()) if unweighted else 1.0) / (4 * variance)
        if term.weight > MOST_OVER_NOISE * by_noise:
            raise MetadataError(
                f"a weight of {term.weight:g} for lengths of intensities (perpendicular_weight) outweighs"
                " the coefficients",
                f"give about {by_noise:.1g}, which is what their counting noise allows",
            )


def _parts(masks: FloatArray) -> tuple[Array, Array]:
    """Positive and negative parts: windows hold counts, which are at or above 0."""
    return np.maximum(masks, 0), np.maximum(-masks, 0)


def _mean_pattern(dataset: Dataset, basis: MaskBasis) -> DoubleArray:
    """Mean counts (Qy, Qx) from the mean coefficients, scaled to the recorded mean sum if there is one."""
    mean = dataset.patterns[:, : basis.count].mean(axis=0, dtype=float)
    pattern = np.maximum(basis.pattern(mean), 0.0)
    if dataset.basis.of == "sqrt_intensity":
        pattern = pattern**2
    if "sum" in dataset.basis.extra:
        total = dataset.patterns[:, basis.count + dataset.basis.extra.index("sum")].mean(dtype=float)
        if total > 0 and pattern.sum() > 0:
            pattern *= total / pattern.sum()
    return np.asarray(pattern)
