"""Rows and predictions of real scikit-learn models: as in training, with inputs that move, and with weights that are swapped.

Usage: cause.py FOLDER. Writes `{model}-{train,shifted,swapped}.jsonl` for three kinds of models; features are `x0` and so
on, predictions `y0` and so on. In all but the first file the first 3,000 rows are as in training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LogisticRegression, Ridge

N_TRAIN, N_BEFORE, N_AFTER = 10_000, 3_000, 2_000


def write(path: Path, features: np.ndarray, predictions: np.ndarray) -> None:
    predictions = predictions.reshape(len(features), -1)
    with path.open("w") as file:
        for x, y in zip(features, predictions):
            row = {f"x{at}": value for at, value in enumerate(x)} | {f"y{at}": value for at, value in enumerate(y)}
            file.write(json.dumps(row) + "\n")


def main(folder: Path) -> None:
    rows = N_TRAIN + N_BEFORE + N_AFTER
    numbers, target = make_regression(rows, 4, noise=1.0, random_state=1)
    two_numbers, two_targets = make_regression(rows, 4, n_targets=2, noise=1.0, random_state=2)
    classes, label = make_classification(
        rows, 4, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=3
    )
    for name, features, targets, model in [
        ("regression", numbers, target, Ridge()),
        ("multi-output", two_numbers, two_targets, Ridge()),
        ("probabilities", classes, label, LogisticRegression()),
    ]:
        train, live = features[:N_TRAIN], features[N_TRAIN:]
        model.fit(train, targets[:N_TRAIN])
        predict = getattr(model, "predict_proba", model.predict)
        write(folder / f"{name}-train.jsonl", train, predict(train))

        shifted = live.copy()
        shifted[N_BEFORE:, 0] += features[:, 0].std()
        write(folder / f"{name}-shifted.jsonl", shifted, predict(shifted))

        before = predict(live[:N_BEFORE])
        # Another export: the weights of the first and the last feature have changed places.
        model.coef_ = np.ascontiguousarray(np.atleast_2d(model.coef_)[:, ::-1].reshape(model.coef_.shape))
        model.intercept_ = model.intercept_ + 0.5 * np.std(before)
        write(folder / f"{name}-swapped.jsonl", live, np.concatenate([before, predict(live[N_BEFORE:])]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
