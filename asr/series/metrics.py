"""Errors of forecasts, each by its published formula, and what of every window they need.

A forecast is compared window by window: truth and forecast are arrays (N, S, C), N windows of S steps of C series, NaN in
the truth where nothing was observed; such cells count nowhere. `Errors` keeps sums of each window and series, of which
every metric is a function: so a metric of a drawn set of windows (a bootstrap replicate) costs a sum, not a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What is summed over the steps of a window, for each series: (N, C) each.
COUNT, SQUARED, ABSOLUTE, TRUTH, TRUTH_2, FORECAST, FORECAST_2, PRODUCT = range(8)


@dataclass(frozen=True)
class Errors:
    """Sums over the steps of each of N windows and C series.

    ``sums`` (N, C, 8) float64: see COUNT ... PRODUCT; the moments (TRUTH to PRODUCT) are taken about ``centre`` (C,), so that
    no precision is lost where values are far from zero. ``pinball`` (N, C, Q): the loss of each of ``quantiles``.
    ``covered`` (N, C): how many cells lie between the lowest and the highest quantile.
    """

    sums: np.ndarray
    centre: np.ndarray
    quantiles: tuple[float, ...] = ()
    pinball: np.ndarray | None = None
    covered: np.ndarray | None = None

    @classmethod
    def of(cls, truth: np.ndarray, forecast: np.ndarray, centre: np.ndarray | None = None,
           quantile_forecasts: np.ndarray | None = None, quantiles: Sequence[float] = ()) -> Errors:
        """The sums of truth and forecast (N, S, C); with forecasts (N, S, C, Q) of the ``quantiles``, rising, their losses too."""
        truth, forecast = np.asarray(truth, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
        if truth.shape != forecast.shape or truth.ndim != 3:
            raise ValueError(f"truth {truth.shape} and forecast {forecast.shape} must both be (windows, steps, series)")
        centre = np.zeros(truth.shape[2]) if centre is None else np.asarray(centre, dtype=np.float64)
        known = ~np.isnan(truth)
        y, p = np.where(known, truth - centre, 0.0), np.where(known, forecast - centre, 0.0)
        parts = (known, (y - p) ** 2, np.abs(y - p), y, y * y, p, p * p, y * p)
        sums = np.stack([part.sum(axis=1, dtype=np.float64) for part in parts], axis=2)
        if quantile_forecasts is None:
            return cls(sums, centre)
        levels = np.asarray(quantiles)
        low = np.where(known[..., None], truth[..., None] - quantile_forecasts, 0.0)
        loss = np.maximum(levels * low, (levels - 1) * low).sum(axis=1)
        inside = known & (truth >= quantile_forecasts[..., 0]) & (truth <= quantile_forecasts[..., -1])
        return cls(sums, centre, tuple(quantiles), loss, inside.sum(axis=1, dtype=np.float64))

    @classmethod
    def join(cls, parts: Sequence[Errors]) -> Errors:
        """The windows of several, one behind the other; all with one ``centre`` and the same quantiles."""
        first = parts[0]
        both = (None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in parts])
                for name in ("pinball", "covered"))
        return cls(np.concatenate([part.sums for part in parts]), first.centre, first.quantiles, *both)

    def __len__(self) -> int:
        return len(self.sums)

    def total(self, weights: np.ndarray | None = None) -> Errors:
        """All windows as one, each as often as ``weights`` (N,) says."""
        def add(part: np.ndarray | None) -> np.ndarray | None:
            if part is None:
                return None
            return part.sum(axis=0, keepdims=True) if weights is None else np.tensordot(weights, part, axes=1)[None]

        return Errors(add(self.sums), self.centre, self.quantiles, add(self.pinball), add(self.covered))


def _over(total: float, count: float) -> float:
    """A mean; NaN of nothing, as of drawn windows without one observed cell."""
    return float(total / count) if count > 0 else float("nan")


def mse(errors: Errors) -> float:
    """Mean squared error over all windows, steps and series: sum (y - p)^2 / n."""
    total = errors.total().sums[0]
    return _over(total[:, SQUARED].sum(), total[:, COUNT].sum())


def mae(errors: Errors) -> float:
    """Mean absolute error over all windows, steps and series: sum |y - p| / n."""
    total = errors.total().sums[0]
    return _over(total[:, ABSOLUTE].sum(), total[:, COUNT].sum())


def rse(errors: Errors) -> float:
    """Root relative squared error: sqrt(sum (y - p)^2) / sqrt(sum (y - mean(y))^2), one mean over all series.

    Lai, Chang, Yang and Liu, "Modeling long- and short-term temporal patterns with deep neural networks", SIGIR 2018, eq. 18.
    Because the mean is over all series, series of different size make the denominator large: values are small, and are
    comparable only with others on the same data in the same units.
    """
    total = errors.total().sums[0]
    count = total[:, COUNT]
    # sum over series of: sum of (y - grand mean)^2 = spread about the centre's own mean + count (its mean - grand mean)^2
    mean = errors.centre + total[:, TRUTH] / np.maximum(count, 1)
    grand = (count * mean).sum() / max(count.sum(), 1)
    spread = (total[:, TRUTH_2] - total[:, TRUTH] ** 2 / np.maximum(count, 1) + count * (mean - grand) ** 2).sum()
    return float(np.sqrt(total[:, SQUARED].sum() / spread)) if spread > 1e-12 * total[:, TRUTH_2].sum() else float("nan")


def corr(errors: Errors) -> float:
    """Pearson correlation of truth and forecast over the windows and steps of each series, averaged over the series.

    Lai et al. 2018, eq. 19 (their `utils.py` divides by population deviations and skips series that do not change; so does
    this). A series whose forecast never changes is skipped too: its correlation is undefined.
    """
    total = errors.total().sums[0]
    n = np.maximum(total[:, COUNT], 1)
    y2 = total[:, TRUTH_2] - total[:, TRUTH] ** 2 / n
    p2 = total[:, FORECAST_2] - total[:, FORECAST] ** 2 / n
    both = total[:, PRODUCT] - total[:, TRUTH] * total[:, FORECAST] / n
    # Rounding leaves a constant series a spread of some 1e-16 of its squares.
    moves = (y2 > 1e-12 * total[:, TRUTH_2]) & (p2 > 1e-12 * total[:, FORECAST_2])
    return float((both[moves] / np.sqrt(y2[moves] * p2[moves])).mean()) if moves.any() else float("nan")


def mase(errors: Errors, scale: np.ndarray) -> float:
    """Mean absolute scaled error: MAE of each series / ``scale`` of it, averaged over the series.

    Hyndman and Koehler, "Another look at measures of forecast accuracy", International Journal of Forecasting 22, 2006.
    ``scale`` (C,) is `seasonal_scale` of the training rows, in the same units.
    """
    total = errors.total().sums[0]
    seen = total[:, COUNT] > 0
    return _over((total[seen, ABSOLUTE] / total[seen, COUNT] / scale[seen]).sum(), seen.sum())


def seasonal_scale(values: np.ndarray, season: int, observed: np.ndarray | None = None) -> np.ndarray:
    """(T, C) -> (C,): mean |y_t - y_(t - season)| over the training rows, the denominator of `mase`.

    Raises ValueError where no pair of rows is a season apart, or a series repeats itself exactly (its scale is zero).
    """
    if len(values) <= season:
        raise ValueError(f"{len(values)} training rows are too few for a season of {season}")
    change = np.abs(values[season:] - values[:-season])
    if observed is not None:
        change = np.where(observed[season:] & observed[:-season], change, np.nan)
    if np.isnan(change).all(axis=0).any():
        raise ValueError(f"a series has no two observed training rows {season} apart")
    scale = np.nanmean(change, axis=0)
    if (scale == 0).any():
        raise ValueError(f"a series repeats itself exactly every {season} training rows: MASE would divide by zero")
    return scale


def pinball(errors: Errors) -> float:
    """Mean pinball (quantile) loss over all cells and quantiles: q (y - f) if y >= f, else (1 - q)(f - y).

    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978. Twice this, over the quantiles, approaches the
    continuous ranked probability score.
    """
    if errors.pinball is None:
        raise ValueError("there are no forecasts of quantiles")
    total = errors.total()
    return _over(total.pinball.sum() / len(errors.quantiles), total.sums[0, :, COUNT].sum())  # type: ignore[union-attr]


def coverage(errors: Errors) -> float:
    """The share of cells between the lowest and the highest quantile (limits included); the aim is the difference of the two."""
    if errors.covered is None:
        raise ValueError("there are no forecasts of quantiles")
    total = errors.total()
    return _over(total.covered.sum(), total.sums[0, :, COUNT].sum())  # type: ignore[union-attr]


def all_metrics(errors: Errors, scale: np.ndarray | None) -> dict[str, float]:
    """Every metric that can be computed, by name, NaN where undefined; ``scale`` (C,) as for `mase`, or None to leave that out."""
    found = {"mse": mse(errors), "mae": mae(errors), "rse": rse(errors), "corr": corr(errors)}
    if scale is not None:
        found["mase"] = mase(errors, scale)
    if errors.pinball is not None:
        found |= {"pinball": pinball(errors), "coverage": coverage(errors)}
    return found
