"""From which moment a backtest has the models that a session's rounds name."""

from __future__ import annotations

import numpy as np
from support import random_bars

from data.bars import Bars
from data.records import RoundInput
from tuning.parity import model_sets

BARS = random_bars(4, symbols=1)
TS = BARS["ts"].tolist()
NAME = "trend_momentum"


def given(number: int, bars: Bars, model: str) -> RoundInput:
    newest = int(bars["ts"].max())
    return RoundInput(
        session_id="s", cell=0, round=number, ts=newest, clock_ns=newest, requests=[],
        bars=bars.tobytes(), news=[], models={NAME: model} if model else {}, locked=[],
    )  # fmt: skip


def test_models_hold_from_the_least_moment_of_the_first_round_that_names_them() -> None:
    read: list[str] = []

    def row(name: str) -> np.ndarray:
        read.append(name)
        return np.array([float(len(read))])

    # The second round has a late bar, by which its models were decided.
    rounds = [
        given(1, BARS[:1], ""),
        given(2, BARS[1:3], "m1"),
        given(3, BARS[3:], "m1"),
    ]
    ((since, models),) = model_sets(rounds, row)
    assert since == TS[1] < rounds[1].ts
    assert models[NAME].tolist() == [1.0]
    assert read == ["m1"]
