"""What driftd is compared with: other tools' detectors, and two other methods on the same counts.

A detector takes a baseline and a stream and gives the rows (0-based) at which it says "drift"; `None` where it has no
place for such values.
"""

from __future__ import annotations

import numpy as np
from river import drift
from scipy import stats

TICK = 10
ALARMS_PER_LOOK = 1e-5
WINDOW = 1000


def _of_river(detector, stream: np.ndarray) -> list[int]:
    """River has no missing values: it is not shown them."""
    found = []
    for row, value in enumerate(stream):
        if np.isnan(value):
            continue
        detector.update(value)
        if detector.drift_detected:
            found.append(row)
    return found


def adwin(_: np.ndarray, stream: np.ndarray) -> list[int]:
    return _of_river(drift.ADWIN(), stream)


def kswin(_: np.ndarray, stream: np.ndarray) -> list[int]:
    return _of_river(drift.KSWIN(seed=1), stream)


def page_hinkley(_: np.ndarray, stream: np.ndarray) -> list[int]:
    return _of_river(drift.PageHinkley(), stream)


def _tumbling(baseline: np.ndarray, stream: np.ndarray, is_drift) -> list[int]:
    baseline = baseline[~np.isnan(baseline)]
    ends = range(WINDOW, len(stream) + 1, WINDOW)
    windows = ((end, stream[end - WINDOW : end]) for end in ends)
    return [end - 1 for end, rows in windows if is_drift(baseline, rows[~np.isnan(rows)])]


def psi_windows(baseline: np.ndarray, stream: np.ndarray) -> list[int]:
    """As Evidently takes it: equal widths over both sides together, by Sturges' rule; 0.0001 for zeros; 0.1 is drift."""

    def is_drift(then: np.ndarray, now: np.ndarray) -> bool:
        edges = np.histogram_bin_edges(np.concatenate([then, now]), bins="sturges")
        shares = [np.histogram(side, edges)[0] / len(side) for side in (then, now)]
        p, q = (np.where(share == 0.0, 1e-4, share) for share in shares)
        return float(np.sum((q - p) * np.log(q / p))) >= 0.1

    return _tumbling(baseline, stream, is_drift)


def ks_windows(baseline: np.ndarray, stream: np.ndarray) -> list[int]:
    return _tumbling(baseline, stream, lambda then, now: stats.ks_2samp(then, now).pvalue < 0.05)


def wasserstein_windows(baseline: np.ndarray, stream: np.ndarray) -> list[int]:
    """Evidently's default above 1,000 reference rows: in standard deviations of the reference, 0.1 is drift."""

    def is_drift(then: np.ndarray, now: np.ndarray) -> bool:
        return stats.wasserstein_distance(then, now) / max(float(np.std(then)), 0.001) >= 0.1

    return _tumbling(baseline, stream, is_drift)


def _cells(baseline: np.ndarray, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts over ten groups of equal mass, beyond the range at either end, and missing: of the baseline, of every tick."""
    known = baseline[~np.isnan(baseline)]
    inner = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9)))
    edges = np.unique([known.min(), *inner, np.nextafter(known.max(), np.inf)])
    n_cells = len(edges) + 2

    def codes(values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), n_cells - 1, np.searchsorted(edges, values, side="right"))

    n_ticks = len(stream) // TICK
    ticks = np.repeat(np.arange(n_ticks), TICK)
    of_stream = np.bincount(ticks * n_cells + codes(stream[: n_ticks * TICK]), minlength=n_ticks * n_cells)
    return np.bincount(codes(baseline), minlength=n_cells), of_stream.reshape(n_ticks, n_cells)


def scaled_psi(baseline: np.ndarray, stream: np.ndarray) -> list[int]:
    """Candidate (a): PSI of the last 100, 1,000 and 10,000 rows against χ², the level divided over windows and looks."""
    then, ticks = _cells(baseline, stream)
    total = np.vstack([np.zeros(then.shape), np.cumsum(ticks, axis=0)])
    n = then.sum()
    found = np.zeros(len(ticks), dtype=bool)
    for length in (100, 1_000, 10_000):
        span = length // TICK
        now = total[span:] - total[:-span] if len(total) > span else np.empty((0, len(then)))
        kept = (now + then) > 0
        n_kept = kept.sum(axis=1)
        p = (then + 0.5) / (n + 0.5 * n_kept[:, None])
        q = (now + 0.5) / (length + 0.5 * n_kept[:, None])
        psi = np.where(kept, (q - p) * np.log(q / p), 0.0).sum(axis=1)
        p_value = stats.chi2.sf(psi / (1 / n + 1 / length), n_kept - 1)
        found[span - 1 :] |= p_value <= ALARMS_PER_LOOK / 3
    return [int(tick) * TICK + TICK - 1 for tick in np.flatnonzero(found)]


def e_detector(baseline: np.ndarray, stream: np.ndarray) -> list[int]:
    """Candidate (b): Shiryaev–Roberts over likelihood ratios of what earlier ticks looked like to the baseline.

    The alternative forgets at three rates; their sums are averaged. The baseline is a sample, not the truth: what of a
    ratio is no larger than its sampling error, one standard deviation of the share, is taken off.
    """
    then, ticks = _cells(baseline, stream)
    n = then.sum()
    p = (then + 0.5) / (n + 0.5 * len(then))
    p = p + np.sqrt(p * (1 - p) / n)
    found, sums = [], np.zeros(3)
    weights = np.array([0.9, 0.98, 0.995])
    seen = np.zeros((3, len(then)))
    for tick, counts in enumerate(ticks):
        q = seen + 20.0 * (then + 0.5) / (n + 0.5 * len(then))
        q /= q.sum(axis=1, keepdims=True)
        ratios = np.exp(np.clip((counts * np.log(q / p)).sum(axis=1), -700, 700))
        sums = np.minimum((sums + 1.0) * ratios, 1e300)
        if sums.mean() * ALARMS_PER_LOOK >= 1.0:
            found.append(tick * TICK + TICK - 1)
            sums[:] = 0.0
        seen = seen * weights[:, None] + counts
    return found


METHODS = {"(a) χ²-scaled PSI": scaled_psi, "(b) e-detector": e_detector}
TOOLS = {
    "ADWIN": adwin,
    "KSWIN": kswin,
    "PageHinkley": page_hinkley,
    "PSI > 0.1": psi_windows,
    "KS p < 0.05": ks_windows,
    "Wasserstein > 0.1": wasserstein_windows,
}
