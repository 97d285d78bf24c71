"""EMA crosses in vectorbt as trials of plain Optuna, and as columns of one wide call.

``run_vectorbt_optuna.py JOB.json`` prints one JSON line: for each case of the job the seconds of
all its configurations, their Sharpe ratios, and the fills of the first few.

Optuna's random sampler is asked as always, then its draw is replaced by the job's, so that both
engines evaluate the same configurations in the same order. Storage is Optuna's default, in memory.
Wide: as many configurations at a time as fit into WIDE_CELLS (bars x configurations) per array.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import vectorbt as vbt
from common import seeded

WIDE_CELLS = 4_000_000
WARM_UP = 3  # configurations before the clock starts
Bars = dict[str, np.ndarray]
Config = dict[str, int]


def means(close: np.ndarray, periods: Sequence[int]) -> dict[int, np.ndarray]:
    """The exponential mean of each different period."""
    mean = vbt.generic.nb.ewm_mean_nb
    return {n: mean(seeded(close, n)[:, None], n)[:, 0] for n in dict.fromkeys(periods)}


def signals(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries and exits (n, k), a bar after the crossing: they fill at that bar's open."""
    entries, exits = np.zeros_like(wanted), np.zeros_like(wanted)
    entries[1:] = wanted[:-1]
    entries[2:] &= ~wanted[:-2]
    exits[2:] = wanted[:-2] & ~wanted[1:-1]
    return entries, exits


def portfolio(bars: Bars, configs: Sequence[Config], case: dict[str, Any]) -> Any:
    """One column for each configuration."""
    periods = [config[name] for config in configs for name in ("fast", "slow")]
    known = means(bars["close"], periods)
    wanted = np.stack([known[c["fast"]] > known[c["slow"]] for c in configs], axis=1)
    entries, exits = signals(wanted)
    close, opened = bars["close"], bars["open"]
    if len(configs) == 1:
        entries, exits = entries[:, 0], exits[:, 0]
    else:
        close, opened = close[:, None], opened[:, None]
    return vbt.Portfolio.from_signals(
        close,
        entries,
        exits,
        price=opened,
        size=case["fraction"],
        size_type="percent",
        fees=case["fee"],
        init_cash=case["cash"],
        freq=case["freq"],
    )


def sharpe(bars: Bars, config: Config, case: dict[str, Any]) -> float:
    return float(portfolio(bars, [config], case).sharpe_ratio())


class Listed(optuna.samplers.RandomSampler):
    """Optuna's random sampler, whose draws are then replaced by a list's."""

    def __init__(self, configs: Sequence[Config]) -> None:
        super().__init__(seed=0)
        self._configs = configs

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        super().sample_independent(study, trial, name, distribution)
        return self._configs[trial.number][name]


def by_optuna(bars: Bars, configs: Sequence[Config], case: dict[str, Any]) -> tuple[float, list]:
    """(seconds, Sharpe ratios)."""

    def objective(trial: Any) -> float:
        config = {
            "fast": trial.suggest_int("fast", 2, 60, log=True),
            "slow": trial.suggest_int("slow", 5, 250, log=True),
        }
        return sharpe(bars, config, case)

    study = optuna.create_study(direction="maximize", sampler=Listed(configs))
    began = time.perf_counter()
    study.optimize(objective, n_trials=len(configs))
    seconds = time.perf_counter() - began
    return seconds, [trial.value for trial in study.trials]


def wide(bars: Bars, configs: Sequence[Config], case: dict[str, Any]) -> tuple[float, list]:
    """(seconds, Sharpe ratios) of all configurations, many columns at a time."""
    size = max(1, WIDE_CELLS // len(bars["close"]))
    ratios: list[float] = []
    began = time.perf_counter()
    for at in range(0, len(configs), size):
        part = configs[at : at + size]
        ratios += np.atleast_1d(np.asarray(portfolio(bars, part, case).sharpe_ratio())).tolist()
    return time.perf_counter() - began, ratios


def fills(bars: Bars, config: Config, case: dict[str, Any]) -> list[tuple[int, int, float]]:
    """(row of the bar, +1 or -1, price)."""
    rows = portfolio(bars, [config], case).orders.values
    sides = np.where(rows["side"] == 0, 1, -1).tolist()
    prices = np.round(rows["price"], 2).tolist()
    return list(zip(rows["idx"].tolist(), sides, prices, strict=True))


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answers = []
    for case in job:
        table = pq.read_table(case["path"], columns=["open", "close"]).slice(0, case["bars"])
        bars = {name: table[name].to_numpy() for name in ("open", "close")}
        configs = case["configs"]
        by_optuna(bars, configs[:WARM_UP], case)
        wide(bars, configs[:WARM_UP], case)
        seconds, ratios = by_optuna(bars, configs, case)
        wide_seconds, wide_ratios = wide(bars, configs, case)
        answers.append(
            {
                "optuna_s": seconds,
                "wide_s": wide_seconds,
                "sharpe": ratios,
                "wide_sharpe": wide_ratios,
                "fills": [fills(bars, config, case) for config in configs[: case["checked"]]],
            }
        )
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
