"""Which bars a review compares, from rounds alone."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
from support import by_moment, plain_config, random_bars

from actors import strategy_optimization
from actors.agent import Agent
from actors.contract import Floats
from data.records import ModelSet, RoundInput, SessionConfig
from tuning.champion_review import Stretch, outcome_known, together
from tuning.decay import Compared
from tuning.labels import NO_LABEL, labels

NAME = "strategy_optimization"
SPEC = strategy_optimization.SPEC
LENGTH, WARM = 180, 126
BARS = random_bars(LENGTH)
CONFIG = msgspec.structs.replace(plain_config(mode="paper"), models_from=0)


def row(slope: float) -> Floats:
    rule = {"rule": "ema_cross", "fast": 5, "slow": 20, "trend_taste": 0.0, "vol_taste": 0.0}
    return strategy_optimization.pack([{**rule, "link": [0.0, -slope, -0.5, 0.0, 0.0, slope]}])


MODELS: Mapping[str, Floats] = {"one": row(1.0), "two": row(-1.0), "own": row(0.3)}


def rounds(models: Mapping[int, str]) -> list[RoundInput]:
    """``models``: from which round on the log names which model; 0 is the first."""
    given, model = [], ""
    for number, bars in enumerate(by_moment(BARS)):
        model = models.get(number, model)
        given.append(
            RoundInput(
                session_id="s", cell=0, round=number + 1, ts=int(bars["ts"][0]), clock_ns=0,
                requests=[], bars=bars.tobytes(), news=[], models={NAME: model} if model else {},
                locked=[],
            )
        )  # fmt: skip
    return given


def compare(
    models: Mapping[int, str], predecessor: str, config: SessionConfig = CONFIG
) -> Compared:
    return Stretch(config, SPEC, "one", predecessor, MODELS.__getitem__).compare(rounds(models))


def voted(model: str) -> Floats:
    """Forecasts (rounds, 2, 3) of an agent that had the model all along."""
    agent = Agent(SPEC)
    agent.set_model(MODELS[model])
    return agent.apply(BARS)[:, :3].reshape(LENGTH, 2, 3)


def rows_of(compared: Compared) -> list[int]:
    return sorted({int(np.searchsorted(np.unique(BARS["ts"]), ts)) for ts in compared.ts})


def test_from_the_first_round_on_as_soon_as_both_are_warm() -> None:
    found = compare({0: "one"}, "two")
    assert rows_of(found) == list(range(WARM, LENGTH - CONFIG.horizon))
    stretch = slice(WARM, LENGTH - CONFIG.horizon)
    assert found.champion.tobytes() == voted("one")[stretch].reshape(-1, 3).tobytes()
    assert found.predecessor.tobytes() == voted("two")[stretch].reshape(-1, 3).tobytes()
    outcome = labels(BARS, CONFIG.horizon).reshape(LENGTH, 2)[stretch].ravel()
    assert (found.outcome == outcome).all()
    assert (outcome != NO_LABEL).all()


def test_the_last_unbroken_run_counts() -> None:
    found = compare({0: "two", 130: "one", 140: "two", 150: "one"}, "two")
    assert rows_of(found) == list(range(150, LENGTH - CONFIG.horizon))
    # A champion's rule starts from the last 126 bars when it takes the slot: here both share it.
    assert np.allclose(found.champion, voted("one")[150:175].reshape(-1, 3), atol=1e-12)
    assert len(compare({0: "one", 150: "two"}, "two").ts) == 0


def test_without_an_earlier_model_it_is_compared_with_knowing_nothing() -> None:
    found = compare({0: "one"}, "")
    assert rows_of(found) == list(range(WARM, LENGTH - CONFIG.horizon))
    assert (found.predecessor == 1.0 / 3.0).all()


def test_the_sessions_own_model_by_its_schedule() -> None:
    since = int(BARS["ts"][2 * 150])
    schedule = [ModelSet(since=since, models={NAME: "two"})]
    own = msgspec.structs.replace(CONFIG, models={NAME: "own"}, schedule=schedule)
    found = compare({0: "own", 130: "one"}, "", own)
    assert np.array_equal(found.champion, voted("one")[130:175].reshape(-1, 3))
    assert np.array_equal(found.predecessor[:40], voted("own")[130:150].reshape(-1, 3))
    assert np.array_equal(found.predecessor[40:], voted("two")[150:175].reshape(-1, 3))


def test_sessions_are_put_together_in_time() -> None:
    def part(*ts: int) -> Compared:
        at = np.array(ts)
        p = np.full((len(at), 3), float(ts[0]))
        return Compared(at, at + 5, np.zeros(len(at), np.int64), p, p)

    empty = together([])
    assert (len(empty.ts), empty.champion.shape) == (0, (0, 3))
    joined = together([part(3, 7), empty, part(1, 7, 9)])
    assert joined.ts.tolist() == [1, 3, 7, 7, 9]
    assert joined.champion[:, 0].tolist() == [1, 3, 3, 1, 1]


@pytest.mark.parametrize("horizon", [1, 3])
def test_an_outcome_is_known_at_the_symbols_own_bar(horizon: int) -> None:
    bars = np.concatenate([BARS[BARS["symbol"] == 0][:4], BARS[BARS["symbol"] == 1][2:4]])
    bars = bars[np.lexsort((bars["symbol"], bars["ts"]))]
    known = outcome_known(bars, horizon)
    mine = bars["symbol"] == 0
    assert known[mine][: 4 - horizon].tolist() == bars["ts"][mine][horizon:].tolist()
    assert (known[mine][4 - horizon :] == np.iinfo(np.int64).max).all()
