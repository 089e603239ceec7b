"""Feature columns as one vector, and what driftd should have counted of it, by NumPy alone.

`vectors.py table TRAIN COLUMNS OUT`: TRAIN (CSV of train.py) as JSON Lines, its features as the lists of one column, `x`;
COLUMNS is the model's columns.json.

`vectors.py recount BASELINE COLUMNS SENT`: the counts of `x.norm` and `x.distance` over BASELINE's groups, of the rows in SENT
(CSV of drive.py), as one JSON object: name -> one count a group.

The definitions, on purpose not taken from driftd's code: elements are 32-bit floats; the norm is that of the vector, the distance
that from the baseline's `centroid`, in 64 bits, both rounded to 17 significant bits; bins and groups as in recount.py.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def matrix(table: pd.DataFrame, columns: dict) -> np.ndarray:
    return table[columns["features"]].to_numpy(np.float64)


def rounded(numbers: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(np.floor(mantissa * 2.0**17 + 0.5), exponent - 17)


def table(train: Path, columns: Path, out: Path) -> None:
    columns = json.loads(columns.read_text())
    rows = pd.read_csv(train)
    (prediction,) = columns["predictions"]
    lines = zip(matrix(rows, columns).tolist(), rows[prediction].tolist())
    out.write_text("".join(json.dumps({"x": x, prediction: y}) + "\n" for x, y in lines))


def recount(baseline: Path, columns: Path, sent: Path) -> dict:
    features = {each["name"]: each for each in json.loads(baseline.read_text())["features"]}
    vectors = matrix(pd.read_csv(sent), json.loads(columns.read_text())).astype(np.float32).astype(np.float64)
    centroid = np.array(features["x.distance"]["centroid"], np.float32).astype(np.float64)
    counts = {}
    for name, origin in [("x.norm", np.zeros(len(centroid))), ("x.distance", centroid)]:
        numbers = rounded(np.sqrt(((vectors - origin) ** 2).sum(axis=1)))
        bins = np.searchsorted(features[name]["edges"], numbers, side="right")
        fine = np.bincount(bins, minlength=len(features[name]["counts"]))
        counts[name] = np.add.reduceat(fine, features[name]["group_starts"]).tolist()
    return counts


def main() -> None:
    match sys.argv[1:]:
        case ["table", train, columns, out]:
            table(Path(train), Path(columns), Path(out))
        case ["recount", baseline, columns, sent]:
            print(json.dumps(recount(Path(baseline), Path(columns), Path(sent))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
