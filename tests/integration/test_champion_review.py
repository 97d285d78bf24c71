"""A champion is promoted in a running session, decays, is reviewed on its journal and demoted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from support import (
    CELL,
    DAY_NS,
    START,
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
    request_body,
    save_models,
)

from actors import strategy_optimization
from actors.registry import AGENTS
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data import round_log
from data.bars import Bars, empty_bars
from data.models_in_force import DEMOTED
from data.records import RoundInput, RoundOutput, input_decoder, output_decoder
from data.sessions import load_model
from data.store import connect
from tuning.champion_register import Candidate, Provenance
from tuning.champion_review import Review, Stretch, review, review_all
from tuning.champion_stack import Scope
from tuning.champions import history, in_force, promote
from tuning.decay import DecayRules
from tuning.study.rules import PASSED, Reason

pytestmark = pytest.mark.integration

NAME = "strategy_optimization"
PLACE = [spec.name for spec in AGENTS].index(NAME)
(SPEC,) = [spec for spec in AGENTS if spec.name == NAME]
PROMOTED, TURNED, FIRST_REVIEW, REVIEWED, LENGTH = 140, 300, 300, 520, 530
FAR = 2**62  # bars of any age are taken before the first that is traded
PASSING = [
    Reason(rule, PASSED, 1.0, 0.5, rule) for rule in ("deflated_sharpe", "pbo", "beats_incumbent")
]


def market(seed: int) -> Bars:
    """Two symbols that run against their 5/20 EMA cross until bar TURNED, then with it."""
    rng = np.random.default_rng(seed)
    log_price, fast, slow = np.zeros(2), np.zeros(2), np.zeros(2)
    closes = np.empty((LENGTH, 2))
    for i in range(LENGTH):
        drift = 0.006 if i >= TURNED else -0.006
        log_price = log_price + drift * np.sign(fast - slow) + rng.normal(0, 0.01, 2)
        fast, slow = fast + (log_price - fast) / 3.0, slow + (log_price - slow) / 10.5
        closes[i] = log_price
    bars = empty_bars(2 * LENGTH).reshape(LENGTH, 2)
    prices = np.rint(1e6 * np.exp(closes)).astype(np.int64)
    for name in ("open", "high", "low", "close"):
        bars[name] = prices
    bars["volume"] = 2_000_000
    bars["ts"] = (START + DAY_NS * np.arange(LENGTH))[:, None]
    bars["symbol"] = np.arange(2)
    return bars.reshape(-1)


class Story:
    """A paper session: the champion, right until the market turns, is reviewed twice."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.config = open_session(house, models=save_models(house), mode="paper", first_traded=FAR)
        self.scope = Scope(self.config.group, self.config.horizon, self.config.bars_per_year)
        self.own = self.config.models[NAME]
        self.reviews: dict[int, Review] = {}
        with Account(house, self.config), connect(house.roles.ops, name="test-ops") as self.ops:
            asyncio.run(self.feed())

    async def feed(self) -> None:
        voters = Voters(TableLog(self.house.roles.read))
        cell = Cell(self.house, voters, GateInProcess(open_gate(self.house)))
        async with cell.running():
            for number, bars in enumerate(by_moment(market(4))):
                self.between(number)
                await cell.decider.decide(request_body(self.config, bars))

    def between(self, number: int) -> None:
        """What happens before round ``number``."""
        if number == PROMOTED:
            self.champion = promote(self.ops, self.candidate(), PASSING, "ann").model
        if number == FIRST_REVIEW:
            self.reviews[number] = review(self.ops, NAME, self.scope, DecayRules(), "review")
        if number == REVIEWED:
            (self.reviews[number],) = review_all(self.ops, DecayRules(), "review")

    def candidate(self) -> Candidate:
        rule = {"rule": "ema_cross", "fast": 5, "slow": 20, "trend_taste": 0.0, "vol_taste": 0.0}
        link = [0.0, 1.5, -0.5, 0.0, 0.0, -1.5]  # the own model's with the other sign
        return Candidate(
            agent=NAME, params=strategy_optimization.pack([{**rule, "link": link}]),
            scope=self.scope, trained_until=0, study="s", trial=1, config={},
            provenance=Provenance(data_hash="d", code="c", seed=1, spec={}), evidence={},
            incumbent="",
        )  # fmt: skip


@pytest.fixture(scope="module")
def story(postgres: EmbeddedPostgres, home: Home) -> Iterator[Story]:
    with migrated(postgres, home) as house:
        yield Story(house)


@pytest.fixture
def link(story: Story) -> Iterator[psycopg.Connection]:
    with story.house.connect() as connection:
        yield connection


def logged(story: Story, link: psycopg.Connection) -> list[tuple[RoundInput, RoundOutput]]:
    return [
        (input_decoder.decode(r.input), output_decoder.decode(r.output))
        for r in round_log.rounds(link, CELL, story.config.session_id)
        if r.output
    ]


def test_rounds_name_the_champion_until_it_is_demoted(
    story: Story, link: psycopg.Connection
) -> None:
    named = [given.models[NAME] for given, _ in logged(story, link)]
    assert named == (
        [story.own] * PROMOTED
        + [story.champion] * (REVIEWED - PROMOTED)
        + [story.own] * (LENGTH - REVIEWED)
    )


def test_it_stays_while_it_is_good(story: Story) -> None:
    first = story.reviews[FIRST_REVIEW]
    assert first.demoted is None
    assert first.decay is not None
    assert first.decay.difference < 0.0
    assert "stays" in str(first)
    assert first.standing.model == story.champion


def test_it_is_demoted_with_its_reason(story: Story, link: psycopg.Connection) -> None:
    found = story.reviews[REVIEWED]
    assert found.decay is not None
    assert found.decay.decayed
    assert found.decay.difference_since > 0.0
    turned = START + TURNED * DAY_NS
    assert abs(found.decay.doubted_from - turned) < 40 * DAY_NS
    assert "is demoted" in str(found)
    last = history(link, NAME)[-1].recorded.change
    assert (last.cause, last.model, last.by) == (DEMOTED, "", "review")
    assert last.reason == found.decay.text
    assert in_force(link, NAME, story.scope).model == ""


def test_the_recomputed_votes_are_the_sessions_own(story: Story, link: psycopg.Connection) -> None:
    rounds = logged(story, link)[:REVIEWED]
    heard = []

    def params(name: str) -> np.ndarray:
        return load_model(link, name)

    stretch = Stretch(story.config, SPEC, story.champion, "", params)
    compared = stretch.compare(given for given, _ in rounds)
    for given, output in rounds[PROMOTED : REVIEWED - story.config.horizon]:
        heard.append(output.arrays().votes[:, PLACE])
        assert given.models[NAME] == story.champion
    assert compared.champion.tobytes() == np.concatenate(heard).tobytes()
    assert len(compared.ts) == 2 * (REVIEWED - PROMOTED - story.config.horizon)
    assert (compared.known - compared.ts == story.config.horizon * DAY_NS).all()
    # The same links with opposite signs on one signal: up for one is down for the other.
    assert np.allclose(compared.champion, compared.predecessor[:, ::-1])


def test_a_model_that_never_was_in_force_has_nothing_to_compare(
    story: Story, link: psycopg.Connection
) -> None:
    rounds = [given for given, _ in logged(story, link)]

    def params(name: str) -> np.ndarray:
        return load_model(link, name)

    for champion in ("absent", story.champion):  # the second one was taken back before the end
        stretch = Stretch(story.config, SPEC, champion, "", params)
        assert len(stretch.compare(rounds).ts) == 0


def test_without_a_champion_there_is_nothing_to_review(story: Story) -> None:
    with connect(story.house.roles.ops, name="test-ops") as ops:
        found = review(ops, "vpin_hft", story.scope, DecayRules(), "review")
        assert review_all(ops, DecayRules(), "review") == []  # the one there was is gone
    assert (found.decay, found.demoted) == (None, None)
    assert "no champion is in force" in str(found)
