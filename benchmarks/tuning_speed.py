"""Evaluations a second of a study, against vectorbt called from plain Optuna.

``python -m benchmarks.tuning_speed [--quick] [--write]``: the same EMA crosses with a commission,
the same random configurations, the same bars, the same pinned core; fills and Sharpe ratios are
compared before speeds are. Ours is a whole study: searcher, engine, evaluator, and every trial with
its returns durable in SQLite; Optuna keeps its trials in memory. In turn, a fresh process each
time, one warm-up turn apart.

``--write`` puts the table into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.jit_cache import activate

activate()

from actors.space import Config
from benchmarks import bench_bars
from benchmarks.bench_bars import MICRO_PER_TICK, TICKS, as_bars
from benchmarks.ema_cross import LIMITS, commission
from benchmarks.measured import first_difference, one_line, replace_marked, spread
from benchmarks.peer_environments import HERE, pinned, python_of
from benchmarks.processes import ROOT
from data.bars import Bars
from data.daily_stocks import load_feed
from data.money import MICRO
from tuning.signal_backtest import SPACE, EmaCross, ema_cross_backtest
from tuning.study.contract import Fold, StudySpec, Trial
from tuning.study.database import Sqlite
from tuning.study.market import Market
from tuning.study.runner import HERE as IN_THIS_PROCESS
from tuning.study.runner import Place, run_study
from tuning.study.searchers import RandomSearch
from tuning.study.signal_evaluator import SignalEvaluator
from tuning.study.store import StudyStore

WORK = ROOT / ".bench" / "tuning"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- tuning:begin -->", "<!-- tuning:end -->"
# Cash so small that no order is larger than what a bar may fill (bench_bars.ENDLESS).
FEE, FRACTION, CASH = 0.001, 0.1, 1_000_000
GENERATION = 200
CHECKED = 5  # configurations whose fills are compared
LIMIT_SECONDS = 1_800
DAILY_SYMBOL = "IBM"
# vectorbt buys at any open and for any amount: our collar round the close decided on may not refuse
# a gap, nor our least order a configuration that has paid nearly all it had in 100,000 commissions.
WIDE = LIMITS.model_copy(update={"collar_bps": 3_000.0, "min_order_notional": Decimal("0.000001")})
COLUMNS = ("ts", "open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Case:
    """One length of history."""

    name: str
    file: str
    bars: int
    trials: int
    freq: str  # for vectorbt
    periods: float  # a year of 365 days, as vectorbt counts


CASES = (
    Case("1,000 daily bars", "daily.parquet", 1_000, 400, "1D", 365.0),
    Case("3,000 daily bars", "daily.parquet", 3_000, 400, "1D", 365.0),
    Case("100,000 one-minute bars", "minutes.parquet", 100_000, 60, "1min", 525_600.0),
    Case("1,000,000 one-minute bars", "minutes.parquet", 1_000_000, 12, "1min", 525_600.0),
)
QUICK = (
    Case("1,000 daily bars", "daily.parquet", 1_000, 100, "1D", 365.0),
    Case("20,000 one-minute bars", "minutes.parquet", 20_000, 20, "1min", 525_600.0),
)


def spec_of(case: Case) -> StudySpec:
    return StudySpec(
        name="speed",
        target="ema_cross",
        objectives=["sharpe"],
        searcher="random",
        scheduler="none",
        trials=case.trials,
        generation=min(GENERATION, case.trials),
        seed=11,
    )


def configs_of(case: Case) -> list[Config]:
    """The configurations that the study of ``spec_of`` draws, in its order."""
    searcher, drawn = RandomSearch(SPACE, 11), list[Config]()
    while len(drawn) < case.trials:
        number = len(drawn) // GENERATION
        drawn += searcher.suggest(number, min(GENERATION, case.trials - len(drawn)), ())
    return drawn


def write_bars(minutes: int) -> None:
    """Both files of bars, prices in whole cents."""
    WORK.mkdir(parents=True, exist_ok=True)
    bench_bars.write(WORK / "minutes.parquet", minutes)
    feed = load_feed(None, (DAILY_SYMBOL,))
    bars = feed.bars
    prices = {
        name: np.round(bars[name] * float(feed.tick), 2)
        for name in ("open", "high", "low", "close")
    }
    pl.DataFrame({"ts": bars["ts"], **prices, "volume": bars["volume"]}).write_parquet(
        WORK / "daily.parquet"
    )


def read(case: Case) -> tuple[dict[str, np.ndarray], Bars]:
    table = pl.read_parquet(WORK / case.file, columns=list(COLUMNS)).head(case.bars)
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    return columns, as_bars(columns, endless=True)


def evaluator_of(case: Case, bars: Bars) -> SignalEvaluator:
    market = Market(
        symbols=("X",),
        bars=bars,
        limits=WIDE,
        costs=commission(FEE),
        bars_per_year=case.periods,
        micro_per_tick=MICRO_PER_TICK,
        opening_micro=CASH * MICRO,
    )
    whole = Fold(0, (), int(bars["ts"][0]), int(bars["ts"][-1]) + 1)
    return SignalEvaluator(market, [whole], FRACTION)


def our_study(case: Case) -> dict[str, Any]:
    """Seconds of a study from its first draw to its last durable trial, and what it found."""
    columns, bars = read(case)
    evaluator = evaluator_of(case, bars)
    evaluator.prepare()
    spec = spec_of(case)
    with tempfile.TemporaryDirectory(dir=WORK) as place:
        store = StudyStore(Sqlite(Path(place) / "study.sqlite"))
        store.create(spec)
        began = time.perf_counter()
        here = Place(executor=IN_THIS_PROCESS, workers=1)
        trials = run_study(store, spec, evaluator, here, lambda _: None)
        seconds = time.perf_counter() - began
        store.database.close()
    return {
        "study_s": seconds,
        "alone_s": _alone(evaluator, trials),
        "sharpe": [trial.values[0] if trial.values else None for trial in trials],
        "fills": [_fills(columns, bars, trial.config) for trial in trials[:CHECKED]],
        "configs": [trial.config for trial in trials],
    }


def _alone(evaluator: SignalEvaluator, trials: Sequence[Trial]) -> float:
    """Seconds of the evaluator by itself, for all configurations."""
    configs = [trial.config for trial in trials]
    began = time.perf_counter()
    evaluator.evaluate(configs, [0])
    return time.perf_counter() - began


def _fills(columns: dict[str, np.ndarray], bars: Bars, config: Config) -> list[list[float]]:
    params = EmaCross(
        fast=int(config["fast"]),
        slow=int(config["slow"]),
        fraction=FRACTION,
        opening_micro=CASH * MICRO,
        micro_per_tick=MICRO_PER_TICK,
    )
    result = ema_cross_backtest(bars, params, WIDE, commission(FEE))
    rows = np.searchsorted(columns["ts"], result.fills["ts"]).tolist()
    prices = np.round(result.fills["price_ticks"] / TICKS, 2).tolist()
    return [list(one) for one in zip(rows, result.fills["side"].tolist(), prices, strict=True)]


def report_of(command: Sequence[str]) -> list[dict[str, Any]]:
    """What a process printed, as one line of JSON; RuntimeError with its complaint."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode or not lines:
        raise RuntimeError(one_line(done.stderr, str(ROOT)))
    return list(json.loads(lines[-1]))


def compared(case: Case, ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What differs in fills and Sharpe ratios; raises nothing, says all."""
    for number, (mine, other) in enumerate(zip(ours["fills"], theirs["fills"], strict=True)):
        if difference := first_difference(mine, other):
            return f"fills of configuration {number} DIFFER: {difference}"
    pairs = [
        (a, b)
        for a, b in zip(ours["sharpe"], theirs["sharpe"], strict=True)
        if a is not None and b is not None
    ]
    gap = max(abs(a - b) for a, b in pairs)
    wide = max(
        abs(a - b)
        for a, b in zip(theirs["sharpe"], theirs["wide_sharpe"], strict=True)
        if a is not None and b is not None
    )
    fills = sum(len(each) for each in ours["fills"])
    return (
        f"{fills:,} fills of {len(ours['fills'])} configurations the same; Sharpe ratios of"
        f" {len(pairs)} of {case.trials} differ by at most {gap:.1e} (their two forms: {wide:.1e})"
    )


def table(cases: Sequence[Case], rounds: Sequence[tuple[list, list]]) -> list[str]:
    """A Markdown table over the rounds, and what was compared."""
    head = "| history | trials | ours, the study | ours, evaluator alone | vectorbt from Optuna |"
    lines = [
        head + " vectorbt, wide | ours / Optuna | ours / wide |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for i, case in enumerate(cases):
        rates = {
            name: [case.trials / answer[side][i][name] for answer in rounds]
            for side, name in ((0, "study_s"), (0, "alone_s"), (1, "optuna_s"), (1, "wide_s"))
        }
        ratios = [_ratio(rates["study_s"], rates[other]) for other in ("optuna_s", "wide_s")]
        cells = [spread(rates[name], ",.1f") for name in rates]
        lines.append(f"| {case.name} | {case.trials:,} | {' | '.join([*cells, *ratios])} |")
        notes.append(f"- {case.name}: {compared(case, rounds[0][0][i], rounds[0][1][i])}.")
    return [*lines, "", "Before speeds, results:", "", *notes]


def _ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median and range of the ratios of the same turn."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(each):.1f} [{min(each):.1f} .. {max(each):.1f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="our side alone, as JSON")
    asked = parser.parse_args()
    cases = QUICK if asked.quick else CASES
    if asked.ours:
        print(json.dumps([our_study(case) for case in cases]))
        return 0
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    write_bars(max(case.bars for case in cases))
    python, missing = python_of("vectorbt")
    if missing:
        print(missing, file=sys.stderr)
        return 1
    job = WORK / "job.json"
    job.write_text(
        json.dumps(
            [
                {
                    "path": str(WORK / case.file),
                    "bars": case.bars,
                    "configs": configs_of(case),
                    "freq": case.freq,
                    "fee": FEE,
                    "fraction": FRACTION,
                    "cash": CASH,
                    "checked": CHECKED,
                }
                for case in cases
            ]
        ),
        encoding="utf-8",
    )
    quick = ["--quick"] if asked.quick else []
    mine = [sys.executable, "-m", "benchmarks.tuning_speed", "--ours", *quick]
    peer = [str(python), str(HERE / "run_vectorbt_optuna.py"), str(job)]
    rounds = []
    for turn in range(asked.repetitions + 1):
        rounds.append((report_of(mine), report_of(peer)))
        print(f"turn {turn} of {asked.repetitions}", file=sys.stderr, flush=True)
    rounds = rounds[1:]
    for case, answer in zip(cases, rounds[0][0], strict=True):
        if answer["configs"] != configs_of(case):
            raise RuntimeError("the study drew other configurations than were handed to vectorbt")
    versions = pinned("vectorbt")
    head = (
        "Trials a second, median [min .. max]; ratios within the same turn. vectorbt"
        f" {versions['vectorbt']}, Optuna {versions['optuna']}, pandas {versions['pandas']}; one"
        f" pinned core, {asked.repetitions} turns after one that is not counted."
    )
    lines = [head, "", *table(cases, rounds)]
    print("\n".join(lines))
    if asked.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replace_marked(text, lines, BEGIN, END), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
