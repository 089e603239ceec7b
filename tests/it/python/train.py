"""Trains the models of the tests on data sets that ship inside scikit-learn: `train.py OUT_DIR`.

Each model gets a folder `OUT_DIR/<name>/` which MLServer serves as it is (`mlserver start OUT_DIR`):

  model.joblib          the fitted estimator
  model-settings.json   for MLServer's scikit-learn runtime
  train.csv             the training table: the features, then what the model answers on these very rows
  columns.json          features, categorical features, prediction columns, method

The same seed gives the same tables. A model that answers with probabilities has one prediction column a class.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import joblib
import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 20240517


@dataclass
class Table:
    features: pd.DataFrame
    target: np.ndarray
    categorical: tuple[str, ...] = ()


@dataclass
class Spec:
    table: Callable[[], Table]
    estimator: Callable[[], BaseEstimator]
    method: str = "predict"
    # Fitted on a DataFrame, the columns are found by name: such a model is served by name too (pandas content type).
    by_name: bool = False


def clean(names) -> list[str]:
    return [name.replace(" (cm)", "").replace(" ", "_").replace("/", "_") for name in names]


def iris() -> Table:
    """150 rows, 4 measures with one decimal, so nearly every value is tied; the classes are served as their names."""
    data = datasets.load_iris()
    return Table(pd.DataFrame(data.data, columns=clean(data.feature_names)), data.target_names[data.target].astype(str))


def wine() -> Table:
    """178 rows, 13 measures and one made categorical feature, the colour."""
    data = datasets.load_wine()
    features = pd.DataFrame(data.data, columns=clean(data.feature_names))
    features["colour"] = pd.cut(
        features["color_intensity"], [0, 3, 6, np.inf], labels=["pale", "medium", "deep"]
    ).astype(str)
    return Table(features, data.target, categorical=("colour",))


def diabetes() -> Table:
    """442 rows, 10 measures, regression; the model accepts missing values."""
    data = datasets.load_diabetes(scaled=False)
    return Table(pd.DataFrame(data.data, columns=clean(data.feature_names)), data.target)


def digits() -> Table:
    """1,797 rows, 64 pixels of whole numbers 0..16: heavy ties, and some pixels that never change."""
    data = datasets.load_digits()
    return Table(pd.DataFrame(data.data.astype(np.int64), columns=clean(data.feature_names)), data.target)


def wine_estimator() -> BaseEstimator:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder=StandardScaler()
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


MODELS = {
    "iris": Spec(iris, lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
    "wine": Spec(wine, wine_estimator, method="predict_proba", by_name=True),
    "diabetes": Spec(diabetes, lambda: HistGradientBoostingRegressor(max_iter=30, random_state=SEED)),
    "digits": Spec(digits, GaussianNB),
}


def prediction_columns(outputs: np.ndarray) -> list[str]:
    """`prediction`, or `prediction_0`, `prediction_1` … where a row's output is a vector."""
    return ["prediction"] if outputs.ndim == 1 else [f"prediction_{idx}" for idx in range(outputs.shape[1])]


def train(name: str, spec: Spec, folder: Path) -> int:
    table = spec.table()
    inputs = table.features if spec.by_name else table.features.to_numpy()
    estimator = spec.estimator().fit(inputs, table.target)
    outputs = np.asarray(getattr(estimator, spec.method)(inputs))

    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(estimator, folder / "model.joblib")
    settings = {
        "name": name,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1", "extra": {"predict_fn": spec.method}},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    predictions = prediction_columns(outputs)
    columns = {
        "features": list(table.features.columns),
        "categorical": list(table.categorical),
        "predictions": predictions,
        "method": spec.method,
        "by_name": spec.by_name,
    }
    (folder / "columns.json").write_text(json.dumps(columns, indent=2) + "\n")
    outputs = pd.DataFrame(outputs.reshape(len(outputs), -1), columns=predictions)
    # pandas writes the shortest text that reads back as the same float.
    pd.concat([table.features, outputs], axis=1).to_csv(folder / "train.csv", index=False)
    return len(outputs)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    out_dir = Path(sys.argv[1])
    rows = {name: train(name, spec, out_dir / name) for name, spec in MODELS.items()}
    print(json.dumps({"models": rows, "seed": SEED}))


if __name__ == "__main__":
    main()
