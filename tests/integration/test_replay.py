"""Replay and parity of real sessions, and of the same ones with a single thing forged."""

# longer than 400 lines because: two sessions serve all of its forgeries.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from support import (
    Cell,
    Edit,
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

from actors.contract import Status
from cloud_trader.account_store import AccountStore
from cloud_trader.control import EVERYWHERE, set_state, unlock
from cloud_trader.difference import Difference
from cloud_trader.lease import TraderLease
from cloud_trader.replay import Findings, replay_session
from cloud_trader.trader import Trader
from cloud_trader.verification import verify_session
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.fingerprint import fingerprint
from cluster.home import Home
from cluster.replay import replay
from data.journal import account_chain
from data.records import SessionConfig
from data.store import connect
from serve_apps.coordinator import Decider
from tuning.parity import check_parity

pytestmark = pytest.mark.integration

WARM, LENGTH = 150, 215
BARS = random_bars(LENGTH)
STAMPS = np.unique(BARS["ts"]).tolist()
LOOSE = limits(min_weight_share=0.2)
NEW_EPOCH, LATE, FAILED, KILL, HALT, RESUME, LOCK, UNLOCK = (
    158, 160, 163, 164, 168, 172, 180, 186,
)  # fmt: skip


def replayed(house: House, config: SessionConfig, *, exact: bool = True) -> Findings:
    with house.connect() as link:
        return replay_session(link, config, exact=exact)


@pytest.fixture(scope="module")
def calm(postgres: EmbeddedPostgres, home: Home) -> Iterator[tuple[House, SessionConfig]]:
    """A session without faults, with a quarantined bar on the way."""
    with migrated(postgres, home) as house:
        config = open_session(
            house, risk=LOOSE, models=save_models(house), first_traded=STAMPS[WARM]
        )
        locks = [(STAMPS[n], symbol) for n in range(LOCK, UNLOCK) for symbol in (0, 1)]
        run_session(house, config, BARS, GateInProcess(open_gate(house)), locks=locks)
        yield house, config


@pytest.fixture(scope="module")
def troubled(postgres: EmbeddedPostgres, home: Home) -> Iterator[tuple[House, SessionConfig]]:
    """A session with late and failed votes, a killed agent, a new gate, a halt, a lock."""
    with migrated(postgres, home) as house:
        config = open_session(
            house, risk=LOOSE, models=save_models(house), first_traded=STAMPS[WARM]
        )
        port, voters = GateInProcess(open_gate(house)), Voters(TableLog(house.roles.read))

        def before(ts: int) -> None:
            voters.faults = {
                STAMPS[LATE]: {"vpin_hft": Status.LATE, "trend_momentum": Status.LATE},
                STAMPS[FAILED]: {"market_prediction": Status.FAILED},
            }.get(ts, {})
            if ts == STAMPS[KILL]:
                voters.kill("strategy_optimization")
            if ts in (STAMPS[HALT], STAMPS[RESUME]):
                state = "HALTED" if ts == STAMPS[HALT] else "ACTIVE"
                with house.connect() as link:
                    set_state(link, EVERYWHERE, state, "drill", "test")
            if ts == STAMPS[UNLOCK]:
                with house.connect() as link:
                    for symbol in config.symbols:
                        unlock(link, symbol, "looked at it", "test")

        def after(ts: int) -> None:
            if ts == STAMPS[NEW_EPOCH]:
                port.gate = open_gate(house, "newer")

        locks = [(STAMPS[n], symbol) for n in range(LOCK, UNLOCK) for symbol in (0, 1)]
        run_session(house, config, BARS, port, before, after, voters, locks)
        yield house, config


def test_a_calm_session_replays_to_the_bit(calm: tuple[House, SessionConfig]) -> None:
    found = replayed(*calm)
    assert (found.rounds, found.decisions) == (LENGTH, 2 * LENGTH)
    assert found.account.moments == LENGTH - WARM
    assert found.account.orders > 8
    assert found.account.fills > 5
    assert found.votes > 2 * LENGTH
    assert found.unanswered == []
    assert not found.absent
    assert found.account.expired == 0


def test_a_troubled_session_replays_to_the_bit(troubled: tuple[House, SessionConfig]) -> None:
    found = replayed(*troubled)
    assert found.rounds == LENGTH
    assert found.absent == {"late": 2, "failed": 1}
    assert found.epochs == [1, 2]
    assert found.states == [f"HALTED ({EVERYWHERE})", f"ACTIVE ({EVERYWHERE})"]
    assert found.account.refused > 0
    assert found.account.unlocked > 0
    assert found.unanswered == []
    house, config = troubled
    with house.connect() as link:
        verify_session(link, config)
        codes = link.execute("SELECT lock_code FROM position").fetchall()
    assert set(codes) == {(None,)}


def test_a_calm_session_has_parity_with_its_backtest(calm: tuple[House, SessionConfig]) -> None:
    house, config = calm
    with house.connect() as link:
        counts = check_parity(link, config)
    assert (counts.rounds, counts.decisions) == (LENGTH, 2 * LENGTH)
    assert counts.moments == LENGTH - WARM
    assert counts.orders > 8
    assert counts.fills > 5


def test_a_troubled_session_has_none(troubled: tuple[House, SessionConfig]) -> None:
    house, config = troubled
    with house.connect() as link, pytest.raises(Difference, match=r"orders and refusals|round"):
        check_parity(link, config)


def test_a_drawdown_replays_and_has_parity(postgres: EmbeddedPostgres, home: Home) -> None:
    """Its halt, flatten and cancelled orders are recomputed too."""
    with migrated(postgres, home) as house:
        risk = limits(min_weight_share=0.2, max_drawdown=0.002)
        config = open_session(
            house, risk=risk, models=save_models(house), first_traded=STAMPS[WARM]
        )
        run_session(house, config, BARS, GateInProcess(open_gate(house)))
        found = replayed(house, config)
        with house.connect() as link:
            operators = link.execute(
                "SELECT count(*) FROM orders WHERE origin = 'operator'"
            ).fetchone()
            counts = check_parity(link, config)
    assert operators is not None
    assert operators[0] > 0
    assert found.states == [f"HALTED ({config.account})"]
    assert counts.orders == found.account.orders


@pytest.mark.parametrize("part", ["everything", "the closing orders"])
def test_a_drawdown_that_nobody_acted_on_is_found(
    postgres: EmbeddedPostgres, home: Home, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A trader whose code skips what MAX_DRAWDOWN demands, or the flatten alone."""
    if part == "everything":
        monkeypatch.setattr(Trader, "_watch_drawdown", lambda *_: None)
    else:
        monkeypatch.setattr(Trader, "_flatten", lambda *_: None)
    with migrated(postgres, home) as house:
        risk = limits(min_weight_share=0.2, max_drawdown=0.002)
        config = open_session(
            house, risk=risk, models=save_models(house), first_traded=STAMPS[WARM]
        )
        run_session(house, config, BARS, GateInProcess(open_gate(house)))
        with house.connect() as link:
            verify_session(link, config)
        with pytest.raises(Difference, match=r"HALTED at|closing orders"):
            replayed(house, config)


def test_a_session_of_requests_without_a_feed_replays(
    postgres: EmbeddedPostgres, home: Home
) -> None:
    """As under ``sapphire up``: the trader stands by, and what is approved stays unordered."""
    with migrated(postgres, home) as house:
        config = open_session(
            house, risk=LOOSE, models=save_models(house), first_traded=STAMPS[WARM]
        )
        accounts, lease = _standing_by(house, config)
        cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))

        async def ask() -> None:
            async with cell.running():
                decider = Decider(cell.engine, cell.store)
                for bars in by_moment(BARS):
                    await decider.decide(request_body(config, bars))

        asyncio.run(ask())
        accounts.end("stopped", "no feed", lease.holder)
        found = replayed(house, config)
    assert found.rounds == LENGTH
    assert found.account.moments == 0
    assert found.without_order > 0
    assert found.unanswered == []


def _standing_by(house: House, config: SessionConfig) -> tuple[AccountStore, TraderLease]:
    lease = TraderLease(house.roles.trader, config.account, 600.0)
    assert lease.acquire()
    accounts = AccountStore(connect(house.roles.trader, name="test-trader"), config)
    accounts.open(lease.holder)
    return accounts, lease


def test_a_trader_that_failed_after_an_approval_replays(
    postgres: EmbeddedPostgres, home: Home
) -> None:
    """The answer to its last request was lost; a session beside it changes nothing."""
    with migrated(postgres, home) as house:
        other = open_session(house, risk=LOOSE, first_traded=STAMPS[-1])
        run_session(house, other, BARS[:40], GateInProcess(open_gate(house)))
        config = open_session(
            house, risk=LOOSE, models=save_models(house), first_traded=STAMPS[WARM]
        )

        def after(ts: int) -> None:
            with house.connect() as link:
                row = link.execute(
                    "SELECT count(*) FROM approval WHERE session_id = %s AND ts = %s",
                    (config.session_id, ts),
                ).fetchone()
            if row is not None and row[0] and ts > STAMPS[WARM + 10]:
                raise ConnectionError("the answer was lost")

        with pytest.raises(ConnectionError):
            run_session(house, config, BARS, GateInProcess(open_gate(house)), after=after)
        found = replayed(house, config)
        assert replayed(house, other).rounds == 20
    assert found.unanswered == []
    assert found.without_order > 0
    assert found.account.orders > 0


# -- somebody who knows the code forges a record and every hash after it --------------------

Forge = Callable[[psycopg.Connection, SessionConfig], tuple[str, int, Edit]]


def _output(link: psycopg.Connection, condition: str = "true") -> int:
    row = link.execute(
        "SELECT seq FROM journal WHERE chain = 'cell/0' AND kind = 'output' AND seq > 320"
        f" AND {condition} ORDER BY seq LIMIT 1"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _record(link: psycopg.Connection, config: SessionConfig, condition: str) -> tuple[str, int]:
    chain = account_chain(config.account)
    row = link.execute(
        f"SELECT seq FROM journal WHERE chain = %s AND {condition} ORDER BY seq LIMIT 1", (chain,)
    ).fetchone()
    assert row is not None
    return chain, int(row[0])


def _last_bit(values: list[float], at: int) -> None:
    values[at] = float(np.nextafter(values[at], 1.0))


def vote(body: dict[str, Any]) -> None:
    _last_bit(body["decisions"][0]["votes"][0], 2)


def evidence(body: dict[str, Any]) -> None:
    _last_bit(body["decisions"][1]["evidence"][1], 0)


def weight(body: dict[str, Any]) -> None:
    _last_bit(body["weights"], 3)


def code(body: dict[str, Any]) -> None:
    body["decisions"][0]["code"] += 1


def target(body: dict[str, Any]) -> None:
    body["decisions"][0]["target_lots"] += 1


def close(body: dict[str, Any]) -> None:
    body["bars"][0][5] -= 1


def price(body: dict[str, Any]) -> None:
    body["fills"][0]["price_ticks"] += 1


def equity(body: dict[str, Any]) -> None:
    body["equity_micro"] += 1


def order_lots(body: dict[str, Any]) -> None:
    body["lots"] -= 1


def refusal_code(body: dict[str, Any]) -> None:
    body["code"] = "CASH"


def met_bar(body: dict[str, Any]) -> None:
    body["met"][0][2] += 1


def clock(body: dict[str, Any]) -> None:
    body["clock_ns"] += 1


def model(body: dict[str, Any]) -> None:
    body["models"].popitem()


def bonus(body: dict[str, Any]) -> None:
    body["bonus"] = 17


def moved(body: dict[str, Any]) -> None:
    body["ts"] -= 1


def never_mind(body: dict[str, Any]) -> None:
    body["why"] = "never mind"


FORGERIES: dict[str, tuple[Forge, str]] = {
    "the last bit of a vote": (lambda link, _: ("cell/0", _output(link), vote), r"votes\[0\]\[2\]"),
    "evidence": (lambda link, _: ("cell/0", _output(link), evidence), r"evidence\[1\]\[0\]"),
    "a weight": (lambda link, _: ("cell/0", _output(link), weight), r"weights\[3\]"),
    "a reason": (lambda link, _: ("cell/0", _output(link), code), r"AAA\.code"),
    "a target": (lambda link, _: ("cell/0", _output(link), target), r"AAA\.target_lots"),
    "a bar": (lambda link, _: ("cell/0", _output(link) - 1, close), r"round|marks"),
    "a fill": (
        lambda link, c: (*_record(link, c, "kind = 'bar' AND payload LIKE '%%fill_id%%'"), price),
        r"price_ticks",
    ),
    "equity": (lambda link, c: (*_record(link, c, "kind = 'bar' AND seq > 20"), equity), "equity"),
    "an order": (lambda link, c: (*_record(link, c, "kind = 'order'"), order_lots), "lots"),
    "a bar that was met": (
        lambda link, c: (*_record(link, c, "kind = 'bar' AND payload LIKE '%%fill_id%%'"), met_bar),
        r"met\[0\]\[2\]",
    ),
    "the session clock": (lambda link, _: ("cell/0", _output(link) - 1, clock), "clock_ns"),
    "a model in force": (lambda link, _: ("cell/0", _output(link) - 1, model), "models"),
    "one more field": (lambda link, c: (*_record(link, c, "kind = 'bar'"), bonus), "payload"),
    "a moment's time": (
        lambda link, c: (*_record(link, c, "kind = 'bar' AND seq > 20"), moved),
        "no round of this moment|ts",
    ),
    "why an order was taken back": (
        lambda link, c: (*_record(link, c, "kind = 'cancelled'"), never_mind),
        "never mind",
    ),
    "a refusal": (lambda link, c: (*_record(link, c, "kind = 'refused'"), refusal_code), "code"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_rechained_forgery_is_found(troubled: tuple[House, SessionConfig], name: str) -> None:
    house, config = troubled
    forge, named = FORGERIES[name]
    with house.connect() as link, link.transaction(force_rollback=True):
        rechain(link, *forge(link, config))
        with pytest.raises(Difference, match=named) as found:
            replay_session(link, config, exact=True)
    assert found.value.recorded != found.value.recomputed


def test_another_fingerprint_may_differ_in_the_last_bits_of_floats_only(
    troubled: tuple[House, SessionConfig],
) -> None:
    house, config = troubled
    with house.connect() as link, link.transaction(force_rollback=True):
        rechain(link, "cell/0", _output(link), vote)
        assert replay_session(link, config, exact=False).rounds == LENGTH
        rechain(link, "cell/0", _output(link), target)
        with pytest.raises(Difference, match="target_lots"):
            replay_session(link, config, exact=False)


def command(
    house: House, config: SessionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> int:
    """``sapphire replay`` on the house's database."""
    monkeypatch.setenv("DATABASE_URL", house.roles.read)
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path))
    return replay(config.session_id)


def test_exit_codes_of_the_command(
    postgres: EmbeddedPostgres,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """0 identical; 3 equal on another fingerprint, whose part is named; 1 when a byte changed."""
    with migrated(postgres, home) as house:
        same = open_session(house, first_traded=STAMPS[-1])
        other = open_session(
            house, first_traded=STAMPS[-1], fingerprint={**fingerprint(), "libm": "musl 1.2"}
        )
        for config in (same, other):
            run_session(house, config, BARS[:60], GateInProcess(open_gate(house)))
        assert command(house, same, tmp_path, monkeypatch) == 0
        assert "equal to the bit" in capsys.readouterr().out
        assert command(house, other, tmp_path, monkeypatch) == 3
        said = capsys.readouterr().out
        assert "floats to 1e-9" in said
        assert "ANOTHER FINGERPRINT: libm: recorded musl 1.2" in said
        with house.connect() as link:
            rechain(link, "cell/0", 40, target)
        assert command(house, same, tmp_path, monkeypatch) == 1
        told = capsys.readouterr().err
        assert "target_lots: recorded" in told
        assert "recomputed" in told
        with house.connect() as link:
            link.execute("UPDATE journal SET ts = ts + 1 WHERE chain = 'cell/0' AND seq = 9")
        assert command(house, same, tmp_path, monkeypatch) == 1
        assert "cell/0 record 9" in capsys.readouterr().err


def test_what_replay_reads_is_what_was_recorded(calm: tuple[House, SessionConfig]) -> None:
    """One byte changed in any record of the session is found by the chain's hashes."""
    house, config = calm
    with house.connect() as link:
        rows = link.execute(
            "SELECT chain, seq, payload FROM journal WHERE session_id = %s", (config.session_id,)
        ).fetchall()
    chain, seq, payload = rows[len(rows) // 2]
    assert len(payload) > 40
    with house.connect() as link, link.transaction(force_rollback=True):
        link.execute(
            "UPDATE journal SET payload = overlay(payload placing '0'::bytea from 40 for 1)"
            " WHERE chain = %s AND seq = %s",
            (chain, seq),
        )
        with pytest.raises(Exception, match="content does not give its hash"):
            verify_session(link, config)
