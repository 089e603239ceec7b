"""Counts and scores again, with NumPy, pandas and SciPy alone, what driftd should have counted and scored.

`recount.py BASELINE SENT… [--training TRAIN]` prints one JSON object. BASELINE is a driftd.baseline/v1 file; each SENT is
a table of the rows sent and the predictions received (drive.py writes them), columns named as in the baseline. With the
training table the baseline's own counts are checked too, and KS and Wasserstein are computed exactly, not from bins.

The definitions, each written here once and on purpose not taken from driftd's code:

  bin      of x: the number of edges <= x; NaN is in no bin but in `missing`; what is no number is in `other`
  groups   runs of bins, group g from bin group_starts[g] up to group_starts[g + 1]
  PSI      over groups, missing and other, without those empty on both sides (B are left): with half a count added to each,
           p and q are shares, PSI = sum (q - p) ln(q / p), in nats; expected without drift: (B - 1)(1/N + 1/M)
  KS       over the bins alone, shares of the rows that are in a bin
  the rest over groups, missing and other, raw counts
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import distance


def read_table(path: Path) -> pd.DataFrame:
    """Everything as text: only an empty cell is missing, "NA" and "null" are values."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])


def category(text: str) -> str | float:
    """`3`, `3.0` and `"3"` are one category."""
    try:
        return float(text) + 0.0
    except ValueError:
        return text


class Counts:
    """What one column adds up to: rows, missing, other, and one count a bin (or category)."""

    def __init__(self, column: pd.Series, feature: dict):
        present = column.dropna()
        self.rows, self.missing, self.values = len(column), int(column.isna().sum()), None
        if feature["kind"] in ("numeric", "text"):
            if feature["kind"] == "text":
                values = present.str.len().to_numpy(float)
            else:
                values = pd.to_numeric(present, errors="coerce").to_numpy(float)
                # to_numeric rounds in the last place; float() reads what was written.
                values = np.array([float(text) if good else np.nan for text, good in zip(present, values == values)])
            self.other = int(np.isnan(values).sum())
            self.values = values[~np.isnan(values)]
            edges = np.asarray(feature["edges"], float)
            bins = np.searchsorted(edges, self.values, side="right")
            self.bins = np.bincount(bins, minlength=len(edges) + 1)
        else:
            names = feature.get("categories") or ["false", "true"]
            codes = {category(name): code for code, name in enumerate(names)}
            found = [codes.get(category(text.lower() if feature["kind"] == "boolean" else text)) for text in present]
            self.other = found.count(None)
            self.bins = np.bincount([code for code in found if code is not None], minlength=len(names))

    def groups(self, feature: dict) -> np.ndarray:
        return grouped(self.bins, feature, self.missing, self.other)


def grouped(bins: np.ndarray, feature: dict, missing: int, other: int) -> np.ndarray:
    starts = feature.get("group_starts") or range(len(bins))
    return np.append(np.add.reduceat(bins, list(starts)), [missing, other])


def psi(b: np.ndarray, c: np.ndarray) -> tuple[float, float, int]:
    """PSI, its expectation without drift, the number of bins."""
    kept = (b > 0) | (c > 0)
    b, c = b[kept], c[kept]
    n = len(b)
    p, q = (b + 0.5) / (b.sum() + 0.5 * n), (c + 0.5) / (c.sum() + 0.5 * n)
    return float(np.sum((q - p) * np.log(q / p))), (n - 1) * (1 / b.sum() + 1 / c.sum()), n


def binned_ks(b: np.ndarray, c: np.ndarray) -> float:
    return float(np.max(np.abs(np.cumsum(b) / b.sum() - np.cumsum(c) / c.sum())))


def asymptotic_p(statistic: float, n: int, m: int) -> float:
    return float(stats.kstwobign.sf(np.sqrt(n * m / (n + m)) * statistic))


def score(feature: dict, live: Counts, training: Counts | None) -> dict:
    baseline_bins = np.asarray(feature["counts"], int)
    b = grouped(baseline_bins, feature, feature.get("missing", 0), feature.get("other", 0))
    c = live.groups(feature)
    scores: dict = {}
    if b.sum() and c.sum():
        value, expected, n_bins = psi(b, c)
        p, q = b / b.sum(), c / c.sum()
        scores |= {
            "psi": value,
            "psi_expected": expected,
            "psi_bins": n_bins,
            "js": float(distance.jensenshannon(p, q, base=2)),
            "hellinger": float(np.sqrt(max(0.0, 1 - np.sum(np.sqrt(p * q))))),
            "total_variation": float(np.abs(p - q).sum() / 2),
        }
        kept = (b > 0) | (c > 0)
        if "edges" not in feature and kept.sum() > 1:
            scores["chi_square_p"] = float(stats.chi2_contingency([b[kept], c[kept]], correction=False)[1])
    if "edges" in feature and baseline_bins.sum() and live.bins.sum():
        scores["ks"] = binned_ks(baseline_bins, live.bins)
        scores["ks_p"] = asymptotic_p(scores["ks"], int(baseline_bins.sum()), int(live.bins.sum()))
        if training is not None:
            exact = stats.ks_2samp(training.values, live.values, method="asymp")
            scores["ks_exact"] = float(exact.statistic)
            scores["ks_exact_p"] = asymptotic_p(exact.statistic, len(training.values), len(live.values))
            # The binned statistic lies in [exact - largest share of one bin, exact].
            share = max((baseline_bins / baseline_bins.sum()).max(), (live.bins / live.bins.sum()).max())
            scores["ks_largest_bin_share"] = float(share)
            if feature.get("std"):
                exact = stats.wasserstein_distance(training.values, live.values)
                scores["wasserstein_exact"] = float(exact / feature["std"])
    return scores


def baseline_faults(feature: dict, training: Counts) -> list[str]:
    """Where the baseline does not say what the training table says."""
    faults = []
    for key, mine in (("rows", training.rows), ("missing", training.missing), ("other", training.other)):
        if feature.get(key, 0) != mine:
            faults.append(f"{key} is {feature.get(key, 0)}, recounted {mine}")
    if list(feature["counts"]) != training.bins.tolist():
        faults.append(f"counts are {feature['counts']}, recounted {training.bins.tolist()}")
    if training.values is not None and len(training.values):
        values = training.values
        moments = {"min": values.min(), "max": values.max(), "mean": values.mean()}
        for key, mine in moments.items():
            if key in feature and not np.isclose(feature[key], mine, rtol=1e-12, atol=1e-12):
                faults.append(f"{key} is {feature[key]}, recounted {mine}")
        both = [values.std(), values.std(ddof=1) if len(values) > 1 else 0.0]
        if "std" in feature and not np.isclose(feature["std"], both, rtol=1e-9, atol=1e-12).any():
            faults.append(f"std is {feature['std']}, recounted {both[0]} (of a population), {both[1]} (of a sample)")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("sent", type=Path, nargs="+")
    parser.add_argument("--training", type=Path)
    arguments = parser.parse_args()
    baseline = json.loads(arguments.baseline.read_text())
    if baseline.get("format") != "driftd.baseline/v1":
        sys.exit(f"recount.py: {arguments.baseline} is not a driftd.baseline/v1 file")
    sent = pd.concat([read_table(path) for path in arguments.sent], ignore_index=True)
    trained = read_table(arguments.training) if arguments.training else None

    features = []
    for feature in baseline["features"]:
        name = feature["name"]
        if name not in sent:
            sys.exit(f"recount.py: the baseline has `{name}`, the rows sent have {', '.join(sent)}")
        live = Counts(sent[name], feature)
        training = Counts(trained[name], feature) if trained is not None else None
        report = {
            "name": name,
            "role": feature["role"],
            "rows": live.rows,
            "missing": live.missing,
            "other": live.other,
            "counts": live.bins.tolist(),
            "groups": live.groups(feature)[:-2].tolist(),
            "scores": score(feature, live, training),
        }
        if training is not None:
            report["baseline_faults"] = baseline_faults(feature, training)
        features.append(report)
    print(json.dumps({"model": baseline.get("model"), "rows": len(sent), "features": features}, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
