"""Streams whose changes are known: a baseline, rows like it, and rows after a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Draw = Callable[[Generator, int], np.ndarray]


def normal(rng: Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def lognormal(rng: Generator, n: int) -> np.ndarray:
    return np.exp(rng.normal(size=n))


def heavy_tailed(rng: Generator, n: int) -> np.ndarray:
    """Cauchy: without a mean."""
    return rng.standard_cauchy(n)


def zero_inflated(rng: Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.7, 0.0, lognormal(rng, n))


def unit(rng: Generator, n: int) -> np.ndarray:
    return 50.0 + 10.0 * rng.normal(size=n)


def categories(shares: tuple[float, ...]) -> Draw:
    """Codes 0, 1, 2 …; written as letters, so that they are categories."""
    return lambda rng, n: rng.choice(len(shares), size=n, p=shares).astype(float)


def batches(rng: Generator, n: int) -> np.ndarray:
    """Standard normal, in batches of fifty rows that share half of their variance."""
    shared = np.repeat(rng.normal(size=-(-n // 50)), 50)[:n]
    return np.sqrt(0.5) * (shared + rng.normal(size=n))


def ramp(rng: Generator, n: int) -> np.ndarray:
    """One standard deviation over 5,000 rows, and no further."""
    return rng.normal(size=n) + np.minimum(np.arange(n) / 5000.0, 1.0)


def with_missing(rng: Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))


def shifted(by: float) -> Draw:
    return lambda rng, n: rng.normal(size=n) + by


@dataclass(frozen=True)
class Change:
    """From one distribution to another. `goal` is the median of rows that driftd aims at."""

    name: str
    before: Draw
    after: Draw
    goal: int | None = None
    is_categorical: bool = False


MIX = categories((0.5, 0.3, 0.2))

CHANGES = [
    Change("mean 0.1 sd", normal, shifted(0.1)),
    Change("mean 0.25 sd", normal, shifted(0.25), 500),
    Change("mean 0.5 sd", normal, shifted(0.5), 150),
    Change("mean 1 sd", normal, shifted(1.0), 60),
    Change("variance × 1.5", normal, lambda rng, n: np.sqrt(1.5) * rng.normal(size=n), 900),
    Change("ramp, 1 sd over 5,000 rows", normal, ramp, 1300),
    Change("categories 50/30/20 → 30/30/40 %", MIX, categories((0.3, 0.3, 0.4)), 200, True),
    Change("categories 50/30/20 → 35/30/35 %", MIX, categories((0.35, 0.3, 0.35)), None, True),
    Change("unit × 100", unit, lambda rng, n: 100.0 * unit(rng, n), 12),
    Change("20 % missing", normal, with_missing, 55),
]

STATIONARY: dict[str, tuple[Draw, bool]] = {
    "normal": (normal, False),
    "lognormal": (lognormal, False),
    "Cauchy": (heavy_tailed, False),
    "zero-inflated": (zero_inflated, False),
    "categorical": (MIX, True),
}
