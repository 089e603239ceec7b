"""Measures what driftd finds, how soon, and how often without cause, beside other tools; writes docs/detection.md.

Run by `./test.sh --detection`. Every number is seeded; `--quick` takes fewer seeds and rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import peers
import real_data
from streams import CHANGES, STATIONARY, Change, Draw, batches, normal, shifted

ROOT = Path(__file__).resolve().parents[2]
DRIFTD = os.environ.get("DRIFTD", str(ROOT / "target/release/driftd"))
DOCUMENT = ROOT / "docs/detection.md"

N_BASELINE = 10_000
N_BEFORE = 2_000
N_AFTER = 10_000
ONE_IN_A_MILLION = ["--tick-rows", "10", "--false-alarms", "1 per 1M rows"]


def write(path: Path, columns: dict[str, np.ndarray], is_categorical: bool = False) -> Path:
    """Numbers as they are, `NaN` as null; codes as letters."""

    def array(values: np.ndarray) -> pa.Array:
        if is_categorical:
            return pa.array([chr(ord("a") + int(code)) for code in values])
        return pa.array(values, from_pandas=True)

    pq.write_table(pa.table({name: array(values) for name, values in columns.items()}), path)
    return path


def build(directory: Path, rows: Path, *more: str) -> Path:
    baseline = directory / "baseline.json"
    subprocess.run([DRIFTD, "baseline", "build", rows, "--out", baseline, *more], check=True, stdout=subprocess.DEVNULL)
    return baseline


def replay(baseline: Path, rows: Path, sensitivity: str, *more: str) -> list[dict]:
    command = [DRIFTD, "replay", "--baseline", baseline, "--sensitivity", sensitivity, *more, rows]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def told(changes: list[dict], verdicts: set[str]) -> list[int]:
    """Rows at which the verdict becomes one of these."""
    rows, was = [], False
    for change in changes:
        now = change["verdict"] in verdicts
        if now and not was:
            rows.append(change["row"])
        was = now
    return rows


EVIDENCE, PRACTICAL = {"warning", "drift", "schema"}, {"drift", "schema"}


def delays(change: Change, seed: int, tools: bool) -> dict[str, list[int] | None]:
    """For each detector the rows of a stream at which it says that something is wrong; the change is at `N_BEFORE`."""
    rng = np.random.default_rng([seed, CHANGES.index(change)])
    baseline = change.before(rng, N_BASELINE)
    stream = np.concatenate([change.before(rng, N_BEFORE), change.after(rng, N_AFTER)])
    found: dict[str, list[int] | None] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = build(directory, write(directory / "baseline.parquet", {"x": baseline}, change.is_categorical))
        rows = write(directory / "rows.parquet", {"x": stream}, change.is_categorical)
        found["driftd, evidence"] = told(replay(file, rows, "evidence", *ONE_IN_A_MILLION), EVIDENCE)
        found["driftd, practical"] = told(replay(file, rows, "practical", *ONE_IN_A_MILLION), PRACTICAL)
    for name, method in peers.METHODS.items():
        found[name] = method(baseline, stream)
    if tools:
        for name, tool in peers.TOOLS.items():
            found[name] = tool(baseline, stream)
    return found


def delay(found: list[int]) -> float:
    after = [row - N_BEFORE + 1 for row in found if row >= N_BEFORE]
    return after[0] if after else float("inf")


def measure_delays(n_seeds: int, n_seeds_of_tools: int, pool: ThreadPoolExecutor) -> tuple[list[list[str]], list[str]]:
    rows, names = [], []
    for change in CHANGES:
        runs = list(pool.map(lambda seed: delays(change, seed, seed < n_seeds_of_tools), range(n_seeds)))
        names = list(runs[0])
        cells = [change.name, "" if change.goal is None else str(change.goal)]
        for name in names:
            medians = np.median([delay(run[name]) for run in runs if name in run])
            cells.append(f"{medians:.0f}" if np.isfinite(medians) else "–")
        rows.append(cells)
        say("delay", *cells)
    return rows, names


def alarms(draw: Draw, is_categorical: bool, n_features: int, n_rows: int, seed: int, *more: str) -> tuple[int, int]:
    """False alarms of driftd in evidence and in practical sensitivity."""
    rng = np.random.default_rng(seed)
    n_baseline = 50_000 if n_features > 1 else N_BASELINE
    columns = lambda n: {f"x{at:03}": draw(rng, n) for at in range(n_features)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = build(directory, write(directory / "baseline.parquet", columns(n_baseline), is_categorical))
        rows = write(directory / "rows.parquet", columns(n_rows), is_categorical)
        return (
            len(told(replay(file, rows, "evidence", *more), EVIDENCE)),
            len(told(replay(file, rows, "practical", *more), PRACTICAL)),
        )


def measure_alarms(n_streams: int, pool: ThreadPoolExecutor) -> list[list[str]]:
    table = []

    def add(name: str, n_features: int, tick: int, budget: str, draw: Draw, is_categorical: bool, n_rows: int) -> None:
        more = ["--tick-rows", str(tick), "--false-alarms", budget]
        runs = pool.map(lambda seed: alarms(draw, is_categorical, n_features, n_rows, 7_000 + seed, *more), range(n_streams))
        evidence, practical = np.sum(list(runs), axis=0)
        millions = n_streams * n_rows / 1e6
        cells = [name, str(n_features), str(tick), budget, f"{millions:g}", str(evidence), str(practical)]
        table.append(cells)
        say("alarms", *cells)

    for name, (draw, is_categorical) in STATIONARY.items():
        add(name, 1, 10, "1 per 1M rows", draw, is_categorical, 1_000_000)
    add("normal", 10, 50, "1 per 10M rows", normal, False, 1_000_000)
    add("normal", 50, 50, "1 per 25M rows", normal, False, 1_000_000)
    add("normal", 500, 100, "1 per 10M rows", normal, False, 100_000)
    add("normal in batches of 50", 1, 10, "1 per 1M rows", batches, False, 1_000_000)
    add("normal in batches of 50", 10, 100, "1 per 10M rows", batches, False, 1_000_000)
    return table


def alarms_of_others(n_rows: int) -> list[list[str]]:
    """False alarms a 100,000 rows of one stationary stream."""
    table = []
    for name, (draw, _) in STATIONARY.items():
        rng = np.random.default_rng(99)
        baseline, stream = draw(rng, N_BASELINE), draw(rng, n_rows)
        cells = [name]
        for detector in (peers.METHODS | peers.TOOLS).values():
            cells.append(f"{len(detector(baseline, stream)) * 1e5 / n_rows:.1f}")
        table.append(cells)
        say("alarms of others", *cells)
    return table


def one_of_fifty(n_seeds: int, pool: ThreadPoolExecutor) -> float:
    """Median rows until half a standard deviation in one of fifty features is found."""

    def one(seed: int) -> float:
        rng = np.random.default_rng([seed, 50])
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            columns = {f"x{at:02}": normal(rng, 50_000) for at in range(50)}
            file = build(directory, write(directory / "baseline.parquet", columns))
            stream = {f"x{at:02}": normal(rng, N_BEFORE + 5_000) for at in range(50)}
            stream["x07"][N_BEFORE:] += 0.5
            rows = write(directory / "rows.parquet", stream)
            more = ["--tick-rows", "50", "--false-alarms", "1 per 25M rows"]
            return delay(told(replay(file, rows, "evidence", *more), EVIDENCE))

    return float(np.median(list(pool.map(one, range(n_seeds)))))


def tiny_shift(n_seeds: int, pool: ThreadPoolExecutor) -> int:
    """In how many streams of 100,000 rows moved by 0.1 standard deviations `practical` says drift."""

    def one(seed: int) -> bool:
        rng = np.random.default_rng([seed, 1])
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            file = build(directory, write(directory / "baseline.parquet", {"x": normal(rng, N_BASELINE)}))
            rows = write(directory / "rows.parquet", {"x": shifted(0.1)(rng, 100_000)})
            return bool(told(replay(file, rows, "practical", *ONE_IN_A_MILLION), PRACTICAL))

    return sum(pool.map(one, range(n_seeds)))


def say(*what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} ", "  ".join(what), file=sys.stderr, flush=True)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(name: str, text: str) -> None:
    """Between the markers of that name in the document."""
    document = DOCUMENT.read_text()
    begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    head, rest = document.split(begin)
    _, tail = rest.split(end)
    DOCUMENT.write_text(head + begin + text + end + tail)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer seeds and rows; does not write the document")
    arguments.add_argument("--only", choices=["delays", "alarms", "others", "real"], help="one part")
    options = arguments.parse_args()
    n_seeds, n_of_tools, n_streams = (11, 3, 1) if options.quick else (41, 11, 10)
    wanted = lambda part: options.only in (None, part)
    texts = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if wanted("alarms"):
            header = ["stream", "features", "tick", "budget", "million rows", "evidence", "practical"]
            texts["alarms"] = markdown(header, measure_alarms(n_streams, pool))
        if wanted("delays"):
            rows, names = measure_delays(n_seeds, n_of_tools, pool)
            fifty = one_of_fifty(n_seeds, pool)
            texts["delays"] = markdown(["change", "goal", *names], rows) + (
                f"\n\nOne of fifty features by 0.5 sd (baseline of 50,000 rows, a look every 50, one false alarm in 25 million rows, evidence): median "
                f"{fifty:.0f} rows; goal 400.\n\n`practical` called a shift of 0.1 sd drift in {tiny_shift(n_seeds, pool)} of {n_seeds} streams of 100,000 rows."
            )
        if wanted("others"):
            header = ["stream", *peers.METHODS, *peers.TOOLS]
            texts["others"] = markdown(header, alarms_of_others(20_000 if options.quick else 100_000))
        if wanted("real"):
            texts["real"] = markdown(["data", "rows", "what is expected", "what was found"], real_data.all_sets(build, replay, write_frame))
    for name, text in texts.items():
        print(f"\n## {name}\n\n{text}")
        if not options.quick:
            put(name, text)


def write_frame(frame, path: Path) -> Path:
    frame.to_parquet(path, index=False)
    return path


if __name__ == "__main__":
    main()
