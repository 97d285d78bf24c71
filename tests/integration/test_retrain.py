"""The predictor of an open session is trained again on what the session has seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from support import (
    CELL,
    Account,
    Cell,
    GateInProcess,
    House,
    TableLog,
    Voters,
    by_moment,
    migrated,
    open_gate,
    open_session,
    random_bars,
    request_body,
    save_models,
)

from actors.agent import Agent
from actors.contract import Status
from actors.registry import AGENTS
from cloud_trader.replay import replay_session
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.bars import Bars
from data.errors import InputError
from data.model_changes import append_change
from data.models_in_force import ModelChange
from data.records import RoundInput, RoundOutput, input_decoder, output_decoder
from data.round_log import rounds
from data.sessions import load_model, save_model
from data.store import connect
from tuning.fit_predictor import fit_samples
from tuning.model_schedule import PREDICTOR, thinned_samples
from tuning.retrain import LEAST_ALONE, in_front, retrain_predictor, session_bars

pytestmark = pytest.mark.integration

NUMBER = [spec.name for spec in AGENTS].index(PREDICTOR)
BARS = random_bars(390, symbols=3)
MOMENTS = by_moment(BARS)
FIRST, LAST = 200, 380  # of the session's bars
RETRAINED = 300
FAR = 2**62
PATIENT_S = 120.0  # compiled code may have to be made first


class Open:
    """A paper session of two of the three symbols that stays open."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.config = open_session(house, models=save_models(house), mode="paper", first_traded=FAR)
        self.gate = GateInProcess(open_gate(house))
        self.change: ModelChange | None = None
        with Account(house, self.config):
            asyncio.run(self.live())

    async def live(self) -> None:
        cell = Cell(self.house, Voters(TableLog(self.house.roles.read)), self.gate)
        async with cell.running():
            for number in range(FIRST, LAST):
                if number == RETRAINED:
                    self.change = self.retrain()
                bars = MOMENTS[number][:2]
                await cell.decider.decide(request_body(self.config, bars), PATIENT_S)

    def retrain(self, now_ts: int = FAR) -> ModelChange | None:
        with connect(self.house.roles.ops, name="test") as link:
            return retrain_predictor(link, self.config, now_ts, by="test", fit_bars=fit_bars())

    def logged(self) -> list[tuple[RoundInput, RoundOutput]]:
        with self.house.connect() as link:
            found = list(rounds(link, CELL, self.config.session_id))
        return [
            (input_decoder.decode(r.input), output_decoder.decode(r.output))
            for r in found if r.output
        ]  # fmt: skip


def fit_bars() -> Bars:
    """They reach into the session, as far as which they are left out."""
    return np.concatenate(MOMENTS[: FIRST + 60])


def own_bars(until: int) -> Bars:
    return np.concatenate([bars[:2] for bars in MOMENTS[FIRST:until]])


@pytest.fixture(scope="module")
def session(postgres: EmbeddedPostgres, home: Home) -> Iterator[Open]:
    with migrated(postgres, home) as house:
        yield Open(house)


def test_it_is_trained_on_the_past_alone(session: Open) -> None:
    change, config = session.change, session.config
    assert change is not None
    assert (change.cause, change.agent, change.by) == ("retrained", PREDICTOR, "test")
    assert change.trained_until == int(MOMENTS[RETRAINED - 1]["ts"][0]) + 1
    past = in_front(fit_bars(), own_bars(RETRAINED), len(config.symbols))
    assert len(past) == 3 * FIRST + 2 * (RETRAINED - FIRST)
    assert (np.diff(past["ts"]) >= 0).all()
    assert set(past["symbol"].tolist()) == {0, 1, 2, 3, 4}
    expected = fit_samples(thinned_samples(past, config.horizon), config.horizon, config.seed)
    assert len(expected) > 0
    with session.house.connect() as link:
        assert load_model(link, change.model).tobytes() == expected.tobytes()


def test_the_next_round_goes_by_it(session: Open) -> None:
    change, agent = session.change, Agent(AGENTS[NUMBER])
    assert change is not None
    first = RETRAINED - FIRST
    with session.house.connect() as link:
        for number, (given, output) in enumerate(session.logged()):
            assert given.models.get(PREDICTOR, "") == (change.model if number >= first else "")
            if number == first:
                agent.set_model(load_model(link, change.model))
            votes, arrays = agent.apply(given.rows()), output.arrays()
            assert arrays.votes[:, NUMBER].tobytes() == votes[:, :3].copy().tobytes()
            voted = set(arrays.status[:, NUMBER].tolist()) == {Status.VOTED}
            assert voted == (number >= first)
        assert replay_session(link, session.config, exact=True).rounds == LAST - FIRST


def test_only_bars_before_the_moment_are_read(session: Open) -> None:
    now = int(MOMENTS[250]["ts"][0])
    with session.house.connect() as link:
        assert session_bars(link, session.config, now).tobytes() == own_bars(250).tobytes()
        assert len(session_bars(link, session.config, 0)) == 0


def test_nothing_is_recorded_without_new_bars_or_rows_enough(session: Open) -> None:
    with session.house.connect() as link, link.transaction(force_rollback=True):
        config = session.config
        assert retrain_predictor(link, config, 0, by="test") is None
        few = int(MOMENTS[FIRST + 90]["ts"][0])  # the warm-up takes 80 bars
        assert retrain_predictor(link, config, few, by="test") is None
        until = session.change.trained_until if session.change else 0
        assert retrain_predictor(link, config, until, by="test", fit_bars=fit_bars()) is None
        again = retrain_predictor(link, config, FAR, by="test", fit_bars=fit_bars())
        assert again is not None
        assert again.trained_until == int(MOMENTS[LAST - 1]["ts"][0]) + 1
        assert retrain_predictor(link, config, FAR, by="test", fit_bars=fit_bars()) is None


def test_what_was_fitted_on_years_gives_way_to_no_few_bars(session: Open) -> None:
    config = session.config
    samples = thinned_samples(own_bars(LAST), config.horizon)
    assert len(fit_samples(samples, config.horizon, config.seed)) > 0  # they could be trained on
    assert len(samples.y) < LEAST_ALONE
    with session.house.connect() as link, link.transaction(force_rollback=True):
        assert retrain_predictor(link, config, FAR, by="test") is None


def test_a_champion_is_not_trained_away(session: Open) -> None:
    config, change = session.config, session.change
    assert change is not None
    with session.house.connect() as link, link.transaction(force_rollback=True):
        params = load_model(link, change.model)
        model = save_model(link, PREDICTOR, config.horizon, 5, params)
        champion = ModelChange(
            agent=PREDICTOR, model=model, trained_until=5, group=config.group,
            horizon=config.horizon, bars_per_year=config.bars_per_year, cause="promoted",
            reason="r", by="b", champion="c1",
        )  # fmt: skip
        append_change(link, champion)
        assert retrain_predictor(link, config, FAR, by="test", fit_bars=fit_bars()) is None


def test_an_ended_session_is_refused(session: Open) -> None:
    with session.house.connect() as link, link.transaction(force_rollback=True):
        link.execute(
            "INSERT INTO session_end (session_id, status, detail) VALUES (%s, 'finished', '')",
            (session.config.session_id,),
        )
        with pytest.raises(InputError, match="has ended"):
            retrain_predictor(link, session.config, FAR, by="test")
