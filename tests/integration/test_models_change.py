"""A change of an agent's model reaches the next round, survives restarts, and can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
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
    limits,
    migrated,
    open_gate,
    open_session,
    random_bars,
    rechain,
    request_body,
    run_session,
    save_models,
)

from actors import strategy_optimization
from actors.agent import Agent
from actors.contract import Floats
from actors.registry import AGENTS
from cloud_trader.difference import Difference
from cloud_trader.replay import replay_session
from cloud_trader.verification import verify_session
from cloud_trader.violation import Violation
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.journal import OPERATIONS, append_operation, cell_chain, read_chain
from data.model_changes import append_change
from data.models_in_force import MODEL, ModelChange
from data.records import (
    ModelSet,
    RoundInput,
    RoundOutput,
    SessionConfig,
    input_decoder,
    output_decoder,
)
from data.round_log import rounds
from data.sessions import load_model, save_model
from data.store import connect
from serve_apps.wire import Refused
from tuning.parity import check_parity

pytestmark = pytest.mark.integration

NAME = "strategy_optimization"
WARM, LENGTH = 130, 160
BARS = random_bars(LENGTH)
MOMENTS = by_moment(BARS)
STAMPS = np.unique(BARS["ts"]).tolist()
CHANGED, RESTARTED, AHEAD, DUE, UNDONE = 134, 138, 140, 146, 152
FAR = 2**62  # bars of any age are taken before the first that is traded
PATIENT_S = 120.0  # compiled code may have to be made first
SPEC = next(spec for spec in AGENTS if spec.name == NAME)


def champion(slope: float) -> Floats:
    return strategy_optimization.pack(
        [
            {
                "rule": "ema_cross", "fast": 3, "slow": 9, "trend_taste": 0.0, "vol_taste": 0.0,
                "link": [0.0, -slope, -0.5, 0.0, 0.0, slope],
            }
        ]
    )  # fmt: skip


def promote(
    house: House, config: SessionConfig, params: Floats | None, until: int = 0, named: bool = False
) -> str:
    """Commits a change of the strategy optimiser's model; the new one's id. None: back."""
    with connect(house.roles.ops, name="test-promote") as link, link.transaction():
        model = "" if params is None else save_model(link, NAME, config.horizon, until, params)
        change = ModelChange(
            agent=NAME, model=model, trained_until=until, group=config.group,
            horizon=config.horizon, bars_per_year=config.bars_per_year, cause="promoted",
            reason="better", by="test",
        )  # fmt: skip
        append_change(link, change, config.session_id if named else "")
    return model


def logged(house: House, config: SessionConfig) -> list[tuple[RoundInput, RoundOutput]]:
    with house.connect() as link:
        found = list(rounds(link, CELL, config.session_id))
    return [
        (input_decoder.decode(r.input), output_decoder.decode(r.output)) for r in found if r.output
    ]


class Story:
    """A paper session in which champions come and go between rounds."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.config = open_session(house, models=save_models(house), mode="paper", first_traded=FAR)
        self.ids = {0: self.config.models[NAME]}
        self.voters = Voters(TableLog(house.roles.read))
        self.gate = GateInProcess(open_gate(house))
        with Account(house, self.config):
            asyncio.run(self.feed(0, RESTARTED))
            asyncio.run(self.feed(RESTARTED, LENGTH))

    async def feed(self, first: int, last: int) -> None:
        """Rounds through a coordinator that starts now, changes between them."""
        cell = Cell(self.house, self.voters, self.gate)
        async with cell.running():
            for number in range(first, last):
                self.change(number)
                body = request_body(self.config, MOMENTS[number])
                await cell.decider.decide(body, PATIENT_S)

    def change(self, number: int) -> None:
        """What is committed before round ``number``."""
        if number == CHANGED:
            self.ids[CHANGED] = promote(self.house, self.config, champion(3.0))
        if number == AHEAD:
            self.ids[DUE] = promote(self.house, self.config, champion(-2.0), STAMPS[DUE])
        if number == UNDONE:
            promote(self.house, self.config, None)
            self.ids[UNDONE] = self.ids[0]


@pytest.fixture(scope="module")
def story(postgres: EmbeddedPostgres, home: Home) -> Iterator[Story]:
    with migrated(postgres, home) as house:
        yield Story(house)


def test_the_next_round_names_the_new_model(story: Story) -> None:
    named = [given.models[NAME] for given, _ in logged(story.house, story.config)]
    own, first, second = story.ids[0], story.ids[CHANGED], story.ids[DUE]
    assert len({own, first, second}) == 3
    assert named == (
        [own] * CHANGED
        + [first] * (DUE - CHANGED)  # also behind the restart, and while the second is ahead
        + [second] * (UNDONE - DUE)
        + [own] * (LENGTH - UNDONE)
    )


def test_only_that_agent_changes(story: Story) -> None:
    others = {k: v for k, v in story.config.models.items() if k != NAME}
    for given, _ in logged(story.house, story.config):
        assert {k: v for k, v in given.models.items() if k != NAME} == others


def test_the_agent_votes_by_what_the_round_names(story: Story) -> None:
    by_hand, stubborn = Agent(SPEC), Agent(SPEC)
    at = [spec.name for spec in AGENTS].index(NAME)
    same = []
    with story.house.connect() as link:
        for number, (given, output) in enumerate(logged(story.house, story.config)):
            since = max(start for start in story.ids if start <= number)
            by_hand.set_model(load_model(link, story.ids[since]))
            stubborn.set_model(load_model(link, story.ids[0]))
            expected, old = by_hand.apply(given.rows()), stubborn.apply(given.rows())
            voted = output.arrays().votes[:, at]
            assert voted.tobytes() == np.ascontiguousarray(expected[:, :3]).tobytes()
            same.append(voted.tobytes() == np.ascontiguousarray(old[:, :3]).tobytes())
    assert not any(same[CHANGED:UNDONE])
    assert all(same[WARM:CHANGED])


def test_each_input_has_seen_its_changes(story: Story) -> None:
    with story.house.connect() as link:
        changes = [r.seq for r in read_chain(link, OPERATIONS) if r.kind == MODEL]
        seen = [r.seen_of(OPERATIONS) for r in read_chain(link, cell_chain(CELL))
                if r.kind == "input"]  # fmt: skip
    assert len(changes) == 3
    for seq, number in zip(changes, (CHANGED, AHEAD, UNDONE), strict=True):
        assert seen[number - 1] < seq <= seen[number]


def test_replay_and_verification_find_nothing(story: Story) -> None:
    with story.house.connect() as link:
        assert replay_session(link, story.config, exact=True).rounds == LENGTH
        assert verify_session(link, story.config).refused_changes == []


@pytest.mark.parametrize("forgery", ["removed", "another agent", "later", "another model"])
def test_a_forged_change_is_found(story: Story, forgery: str) -> None:
    with story.house.connect() as link:
        (seq, *_) = [r.seq for r in read_chain(link, OPERATIONS) if r.kind == MODEL]

        def edit(body: dict[str, object]) -> None:
            body |= {
                "another agent": {"agent": "vpin_hft"},
                "later": {"trained_until": STAMPS[CHANGED] + 1},
                "another model": {"model": story.ids[DUE], "trained_until": STAMPS[DUE]},
                "removed": {"group": "of others"},
            }[forgery]

        with link.transaction(force_rollback=True):
            rechain(link, OPERATIONS, seq, edit)
            where = f"cell/{CELL} record {2 * CHANGED + 1} "
            with pytest.raises(Difference, match=where):
                replay_session(link, story.config, exact=True)
            with pytest.raises(Violation, match="not those in force"):
                verify_session(link, story.config)


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ({"model": "0" * 64}, "not in the database"),
        ({"agent": "vpin_hft"}, "no model of it"),
        ({"agent": "nobody"}, "no agent is called"),
        ({"trained_until": 0}, "trained until"),
        ({"horizon": 9}, "horizon"),
        ({"unknown": 1}, "no change of a model"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_a_flawed_change_is_refused_and_trading_goes_on(
    postgres: EmbeddedPostgres, home: Home, flaw: dict[str, object], why: str
) -> None:
    with migrated(postgres, home) as house:
        config = open_session(house, models=save_models(house), mode="historical")
        with connect(house.roles.ops, name="test") as link:
            model = save_model(link, NAME, config.horizon, 77, champion(3.0))
        body = {
            "agent": NAME, "model": model, "trained_until": 77, "group": config.group,
            "horizon": config.horizon, "bars_per_year": config.bars_per_year, "cause": "promoted",
            "reason": "r", "by": "b", **flaw,
        }  # fmt: skip

        def before(ts: int) -> None:
            if ts == STAMPS[1]:
                with house.connect() as link:
                    append_operation(link, MODEL, body, config.session_id)

        run_session(
            house, config, np.concatenate(MOMENTS[:3]), GateInProcess(open_gate(house)), before
        )
        assert [given.models for given, _ in logged(house, config)] == [config.models] * 3
        with house.connect() as link:
            replay_session(link, config, exact=True)
            (refused,) = verify_session(link, config).refused_changes
        assert why in refused


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ({"model": "0" * 64}, "not in the database"),
        ({"agent": "vpin_hft"}, "of agent strategy_optimization"),
        ({"trained_until": 0}, "trained until 77"),
        ({"horizon": 9}, "horizon"),
        ({"reason": " "}, "reason"),
        ({"cause": "whim"}, "cause"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_a_flawed_change_is_not_recorded(story: Story, flaw: dict[str, object], why: str) -> None:
    config = story.config
    with story.house.connect() as link, link.transaction(force_rollback=True):
        model = save_model(link, NAME, config.horizon, 77, champion(9.0))
        change = ModelChange(
            agent=NAME, model=model, trained_until=77, group=config.group, horizon=config.horizon,
            bars_per_year=config.bars_per_year, cause="promoted", reason="r", by="b",
        )  # fmt: skip
        append_change(link, change)
        with pytest.raises(ValueError, match=why):
            append_change(link, msgspec.structs.replace(change, **flaw))


def test_a_historical_session_with_a_schedule_and_a_change_of_its_own(
    postgres: EmbeddedPostgres, home: Home
) -> None:
    with migrated(postgres, home) as house:
        models = save_models(house)
        with connect(house.roles.ops, name="test") as link:
            scheduled = [save_model(link, NAME, 5, STAMPS[at], champion(2.0 + at / 100))
                         for at in (CHANGED, DUE)]  # fmt: skip
        schedule = [
            ModelSet(since=STAMPS[at], models={NAME: name})
            for at, name in zip((CHANGED, DUE), scheduled, strict=True)
        ]
        config = open_session(
            house, risk=limits(min_weight_share=0.2, allow_short=True), models=models,
            models_from=STAMPS[20], schedule=schedule, first_traded=STAMPS[WARM],
        )  # fmt: skip
        ids: list[str] = []

        def before(ts: int) -> None:
            if ts == STAMPS[AHEAD]:
                promote(house, config, champion(8.0))  # for those that trade now
                ids.append(promote(house, config, champion(9.0), STAMPS[WARM], named=True))
            if ts == STAMPS[UNDONE]:
                promote(house, config, None, named=True)

        run_session(house, config, BARS, GateInProcess(open_gate(house)), before)
        named = [given.models.get(NAME, "") for given, _ in logged(house, config)]
        assert named == (
            [""] * 20
            + [models[NAME]] * (CHANGED - 20)
            + [scheduled[0]] * (AHEAD - CHANGED)
            + ids * (UNDONE - AHEAD)
            + [scheduled[1]] * (LENGTH - UNDONE)
        )
        with house.connect() as link:
            assert check_parity(link, config).orders > 0
            assert replay_session(link, config, exact=True).rounds == LENGTH
            assert verify_session(link, config).rounds == LENGTH


@pytest.mark.parametrize("fault", ["missing", "another agent", "look-ahead", "order"])
def test_a_session_with_a_bad_schedule_is_not_served(
    postgres: EmbeddedPostgres, home: Home, fault: str
) -> None:
    code = {"look-ahead": "look_ahead", "order": "schedule_order"}.get(fault, "model_missing")
    with migrated(postgres, home) as house:
        with connect(house.roles.ops, name="test") as link:
            agent = "vpin_hft" if fault == "another agent" else NAME
            until = 901 if fault == "look-ahead" else 900
            name = save_model(link, agent, 5, until, champion(2.0))
        if fault == "missing":
            name = "0" * 64
        sets = [ModelSet(since=since, models={NAME: name}) for since in (900, 1000)]
        config = open_session(
            house, models=save_models(house),
            schedule=sets[::-1] if fault == "order" else sets,
        )  # fmt: skip

        async def ask() -> None:
            cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))
            async with cell.running():
                await cell.decider.decide(request_body(config, MOMENTS[0]), PATIENT_S)

        with pytest.raises(Refused) as refused:
            asyncio.run(ask())
        assert refused.value.problem.code == code


def test_a_round_waits_while_the_changes_cannot_be_read(
    postgres: EmbeddedPostgres, home: Home
) -> None:
    """The round's connection dies just before it looks; the change it then reads is in force."""
    with migrated(postgres, home) as house:
        config = open_session(house, models=save_models(house), mode="paper", first_traded=FAR)

        async def work() -> str:
            cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))
            async with cell.running():
                await cell.decider.decide(request_body(config, MOMENTS[0]), PATIENT_S)
                model = promote(house, config, champion(3.0))
                kill(house, f"coordinator-{CELL}")
                await cell.decider.decide(request_body(config, MOMENTS[1]), PATIENT_S)
            return model

        with Account(house, config):
            model = asyncio.run(work())
        named = [given.models[NAME] for given, _ in logged(house, config)]
        assert named == [config.models[NAME], model]
        with house.connect() as link:
            replay_session(link, config, exact=True)


def kill(house: House, name: str) -> None:
    """Ends the database's end of the connections of that name."""
    with house.connect() as link:
        ended = link.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            (name,),
        ).fetchall()
    assert ended == [(True,)]
