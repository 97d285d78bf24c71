"""Verification of a real session, and of the same one with a single thing tampered with.

Each tampering happens in a transaction that is rolled back. Two kinds: one leaves the hashes alone
(a clumsy hand), the other recomputes the whole chain after it (somebody who knows the code).
"""

# longer than 400 lines because: one table of tamperings, each of which must be named.

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from support import (
    Edit,
    GateInProcess,
    House,
    limits,
    migrated,
    open_gate,
    open_session,
    random_bars,
    rechain,
    run_session,
    save_models,
)

from cloud_trader.control import EVERYWHERE, set_state
from cloud_trader.verification import Findings, verify_session
from cloud_trader.violation import Violation
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.bars import Bars
from data.records import SessionConfig, output_decoder
from data.sessions import load_session
from data.store import connect

pytestmark = pytest.mark.integration

WARM, LENGTH = 150, 190
NEW_EPOCH, HALT, RESUME = 158, 168, 172
BARS = random_bars(LENGTH)
STAMPS = np.unique(BARS["ts"]).tolist()
LOOSE = limits(min_weight_share=0.2)


class Session:
    """A finished session in its database."""

    def __init__(self, house: House, config: SessionConfig) -> None:
        self.house = house
        self.config = config
        self.link = house.connect()

    def verify(self) -> Findings:
        return verify_session(self.link, self.config)

    @contextmanager
    def tampered(self) -> Iterator[psycopg.Connection]:
        """What happens inside is undone."""
        with self.link.transaction(force_rollback=True):
            yield self.link

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.link.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def session(postgres: EmbeddedPostgres, home: Home) -> Iterator[Session]:
    """Two symbols over LENGTH dates with a new epoch, a halt and a resume on the way."""
    with migrated(postgres, home) as house:
        config = open_session(
            house, risk=LOOSE, models=save_models(house), first_traded=STAMPS[WARM]
        )
        port = GateInProcess(open_gate(house))

        def before(ts: int) -> None:
            if ts in (STAMPS[HALT], STAMPS[RESUME]):
                state = "HALTED" if ts == STAMPS[HALT] else "ACTIVE"
                with house.connect() as link:
                    set_state(link, EVERYWHERE, state, "drill", "test")

        def after(ts: int) -> None:
            if ts == STAMPS[NEW_EPOCH]:
                port.gate = open_gate(house, "newer")

        run_session(house, config, BARS, port, before, after)
        made = Session(house, config)
        yield made
        made.link.close()


# -- untouched ------------------------------------------------------------------------------


def test_an_honest_session_is_verified(session: Session) -> None:
    findings = session.verify()
    assert findings.rounds == LENGTH
    assert findings.records["cell/0"] == 2 * LENGTH
    assert findings.records["operations"] == 4  # two epochs, halt, resume
    assert findings.orders == session.rows("SELECT count(*) FROM orders")[0][0] > 8
    assert findings.fills == session.rows("SELECT count(*) FROM fill")[0][0] > 5
    void = [line for line in findings.refused if "EPOCH_VOID (epoch 1, in force 2)" in line]
    assert void
    assert session.rows("SELECT status FROM session_end") == [("finished",)]


def test_the_halt_was_real(session: Session) -> None:
    during = session.rows(
        "SELECT 1 FROM orders WHERE ts >= %s AND ts < %s", STAMPS[HALT], STAMPS[RESUME]
    )
    assert during == []
    assert session.rows("SELECT 1 FROM orders WHERE ts < %s LIMIT 1", STAMPS[HALT])
    assert session.rows("SELECT 1 FROM orders WHERE ts >= %s LIMIT 1", STAMPS[RESUME])
    epochs = session.rows("SELECT DISTINCT epoch FROM orders ORDER BY epoch")
    assert epochs == [(1,), (2,)]


# -- a clumsy hand --------------------------------------------------------------------------

FLIP = "overlay(payload placing '0'::bytea from 40 for 1)"
SOME_FILL = "fill_id = (SELECT min(fill_id) FROM fill)"
SOME_ORDER = "client_order_id = (SELECT min(client_order_id) FROM orders)"
CLUMSY = {
    "payload byte of a round": (
        f"UPDATE journal SET payload = {FLIP} WHERE chain = 'cell/0' AND seq = 200",
        r"cell/0 record 200 \(output\): its content does not give its hash",
    ),
    "payload byte of an operation": (
        f"UPDATE journal SET payload = {FLIP} WHERE chain = 'operations' AND seq = 2",
        r"operations record 2",
    ),
    "event time": (
        "UPDATE journal SET ts = ts + 1 WHERE chain = 'cell/0' AND seq = 11",
        r"cell/0 record 11 .*content",
    ),
    "what was seen": (
        "UPDATE journal SET seen = '{}' WHERE chain LIKE 'account/%' AND seq = 9",
        r"account/.* record 9 .*content",
    ),
    "hash": (
        "UPDATE journal SET hash = sha256(hash) WHERE chain = 'cell/0' AND seq = 77",
        r"cell/0 record 77 .*content",
    ),
    "identity": (
        "UPDATE journal_identity SET hash = sha256(hash) WHERE chain = 'cell/0' AND seq = 77",
        r"cell/0 record 77 .*identity row has another hash",
    ),
    "deleted record": (
        "DELETE FROM journal WHERE chain = 'cell/0' AND seq = 100",
        r"cell/0 record 101 .*number 101 follows 99",
    ),
    "deleted first record": (
        "DELETE FROM journal WHERE chain = 'operations' AND seq = 1",
        r"operations record 2 .*number 2 follows 0",
    ),
    "deleted last record": (
        "DELETE FROM journal WHERE chain LIKE 'account/%' AND kind = 'ended'",
        r"account/.*records are missing",
    ),
    "end cut off": (
        ("WITH gone AS (DELETE FROM journal WHERE chain = 'cell/0' AND seq > 370 RETURNING seq)"
        " DELETE FROM journal_identity WHERE chain = 'cell/0' AND seq > 370"),
        r"round tables|cell/0",
    ),
    "resume cut off": (
        ("WITH gone AS (DELETE FROM journal WHERE chain = 'operations' AND seq = 4 RETURNING seq)"
        " DELETE FROM journal_identity WHERE chain = 'operations' AND seq = 4"),
        r"trading was HALTED",
    ),
    "halt and resume cut off, and the table set right": (
        ("WITH a AS (DELETE FROM journal WHERE chain = 'operations' AND seq > 2),"
        " b AS (DELETE FROM trading_state)"
        " DELETE FROM journal_identity WHERE chain = 'operations' AND seq > 2"),
        r"operations: .* saw 4, the last is 2",
    ),
    "last account record cut off": (
        ("WITH gone AS (DELETE FROM journal WHERE chain LIKE 'account/%' AND kind = 'ended'"
        " RETURNING seq) DELETE FROM journal_identity WHERE chain LIKE 'account/%'"
        " AND seq = (SELECT max(seq) FROM journal_identity WHERE chain LIKE 'account/%')"),
        r"session_end",
    ),
    "fill price": (f"UPDATE fill SET price_ticks = price_ticks - 1 WHERE {SOME_FILL}", r"fill: "),
    "fill fee": (f"UPDATE fill SET fee_micro = 0 WHERE {SOME_FILL}", r"fill: "),
    "deleted fill": (f"DELETE FROM fill WHERE {SOME_FILL}", r"fill: "),
    "invented fill": (
        ("INSERT INTO fill SELECT 'mine', client_order_id, account, symbol, ts, side, lots,"
        f" price_ticks, fee_micro, seq FROM fill WHERE {SOME_FILL}"),
        r"fill: mine",
    ),
    "cash": ("UPDATE account SET cash_micro = cash_micro + 1", r"account paper-"),
    "reserved cash": ("UPDATE account SET reserved_micro = 1", r"account paper-"),
    "equity": ("UPDATE account SET equity_micro = equity_micro + 1", r"account paper-"),
    "peak": ("UPDATE account SET peak_micro = peak_micro - 1", r"account paper-"),
    "position": ("UPDATE position SET lots = lots + 1", r"position: "),
    "position of nothing": (
        "INSERT INTO position SELECT account, 'ZZZ', 5, 0, 1 FROM account", r"position: "
    ),
    "order lots": (f"UPDATE orders SET lots = lots + 1 WHERE {SOME_ORDER}", r"orders: "),
    "order limit": (f"UPDATE orders SET limit_ticks = 1 WHERE {SOME_ORDER}", r"orders: "),
    "order status": (f"UPDATE orders SET status = 'open' WHERE {SOME_ORDER}", r"orders: "),
    "order epoch": ("UPDATE orders SET epoch = 2 WHERE epoch = 1", r"orders: "),
    "order origin": (f"UPDATE orders SET origin = 'operator' WHERE {SOME_ORDER}", r"orders: "),
    "invented order": (
        ("INSERT INTO orders SELECT 'mine', session_id, account, symbol, ts, origin, side, lots,"
        f" limit_ticks, epoch, 0, send_by, seq, 'filled', lots FROM orders WHERE {SOME_ORDER}"),
        r"orders: mine",
    ),
    "approval lots": ("UPDATE approval SET max_lots = max_lots + 1", r"approval \w+ \d+: says"),
    "approval view": ("UPDATE approval SET net_lots = net_lots + 1", r"approval \w+ \d+: says"),
    "approval epoch": ("UPDATE approval SET epoch = 2 WHERE epoch = 1", r"approval .*: says"),
    "deleted approval": (
        "DELETE FROM approval WHERE ts = (SELECT max(ts) FROM approval)",
        r"approval: rows are missing",
    ),
    "invented approval": (
        ("INSERT INTO approval SELECT session_id, symbol, ts + 1, account, cell, round, epoch,"
        " side, max_lots, limit_ticks, net_lots, expires_at FROM approval LIMIT 1"),
        r"approval .*approved nothing",
    ),
    "decision's bar": (
        "UPDATE decision_identity SET bar_hash = sha256(bar_hash) WHERE round = 5",
        r"decision_identity",
    ),
    "deleted decision": ("DELETE FROM decision_identity WHERE round = 5", r"decision_identity"),
    "moved decision": ("UPDATE decision_identity SET round = 6 WHERE round = 5", r"decision_id"),
    "request's round": ("UPDATE request_identity SET round = 6 WHERE round = 5", r"request_id"),
    "deleted request": ("DELETE FROM request_identity WHERE round = 5", r"request_identity"),
    "deleted round input": ("DELETE FROM round_input WHERE round = 5", r"no row in round_input"),
    "deleted round output": ("DELETE FROM round_output WHERE round = 5", r"no row in round_output"),
    "round output points elsewhere": (
        "UPDATE round_output SET seq = seq + 2 WHERE round = 5", r"no row in round_output"
    ),
    "round output of another kind": (
        "UPDATE round_output SET kind = 'aborted' WHERE round = 5", r"round_output"
    ),
    "round output of another epoch": (
        "UPDATE round_output SET epoch = epoch + 1 WHERE round = 5", r"round_output"
    ),
    "model": (
        ("UPDATE model SET params = overlay(params placing '0'::bytea from 3 for 1)"
        " WHERE agent = 'vpin_hft'"),
        r"model \w+: .*altered",
    ),
    "deleted model": ("DELETE FROM model WHERE agent = 'vpin_hft'", r"model .*not in the database"),
    "trading state": ("UPDATE trading_state SET state = 'HALTED'", r"trading_state"),
    "gate's epoch": ("UPDATE gate_lease SET epoch = 1", r"gate_lease"),
    "how it ended": ("UPDATE session_end SET status = 'failed'", r"session_end"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLUMSY)
def test_one_changed_row_is_named(session: Session, name: str) -> None:
    statement, named = CLUMSY[name]
    with session.tampered() as link:
        assert link.execute(statement).rowcount > 0
        with pytest.raises(Violation, match=named):
            session.verify()


# -- somebody who knows the code ------------------------------------------------------------


def approved_round(session: Session) -> tuple[int, int]:
    """Record number and place of the first decision that became an order."""
    rows = session.rows(
        "SELECT j.seq, j.payload FROM orders o JOIN approval a USING (session_id, symbol, ts)"
        " JOIN round_output r USING (cell, round) JOIN journal j ON j.chain = 'cell/0'"
        " AND j.seq = r.seq ORDER BY o.ts LIMIT 1"
    )
    ((seq, payload),) = rows
    decisions = output_decoder.decode(payload).decisions
    return seq, next(i for i, decision in enumerate(decisions) if decision.lots)


def record_of(session: Session, kind: str, containing: str = "", last: bool = False) -> int:
    rows = session.rows(
        "SELECT seq FROM journal WHERE chain LIKE 'account/%%' AND kind = %s"
        " AND position(%s in convert_from(payload, 'utf8')) > 0 ORDER BY seq",
        kind,
        containing,
    )
    return int(rows[-1 if last else 0][0])


def account_edit(
    kind: str, containing: str, edit: Edit, last: bool = False
) -> Callable[[Session, psycopg.Connection], None]:
    def tamper(session: Session, link: psycopg.Connection) -> None:
        seq = record_of(session, kind, containing, last)
        rechain(link, f"account/{session.config.account}", seq, edit)

    return tamper


def round_edit(edit: Edit) -> Callable[[Session, psycopg.Connection], None]:
    def tamper(session: Session, link: psycopg.Connection) -> None:
        seq, place = approved_round(session)
        rechain(link, "cell/0", seq, lambda body: edit(body["decisions"][place]))

    return tamper


def more(name: str, by: int = 1) -> Edit:
    return lambda body: body.update({name: body[name] + by})


def first_fill(name: str, by: int) -> Edit:
    return lambda body: body["fills"][0].update({name: body["fills"][0][name] + by})


def input_edit(edit: Edit) -> Callable[[Session, psycopg.Connection], None]:
    return lambda _, link: rechain(link, "cell/0", 9, edit)


def state_edit(seq: int, state: str) -> Callable[[Session, psycopg.Connection], None]:
    return lambda _, link: rechain(link, "operations", seq, lambda b: b.update(state=state))


FILLED = '"fill_id"'
KNOWING = {
    "order larger than approved": (
        account_edit("order", "", more("lots", 10**6)), "more lots than approved"
    ),
    "order on the other side": (
        account_edit("order", "", lambda b: b.update(side=-b["side"])), "side or limit"
    ),
    "order at another limit": (account_edit("order", "", more("limit_ticks")), "side or limit"),
    "order of another moment": (account_edit("order", "", more("ts")), "no such decision"),
    "order under another epoch": (account_edit("order", "", more("epoch")), "epoch"),
    "order said to be an operator's": (
        account_edit("order", '"side":1', lambda b: b.update(origin="operator")), "must reduce"
    ),
    "two orders of one id": (
        account_edit("order", "", lambda b: b.update(client_order_id="x")), "not open|orders"
    ),
    "fill of nothing": (
        account_edit("bar", FILLED, lambda b: b["fills"][0].update(client_order_id="x")),
        "order that is not open",
    ),
    "fill beyond the limit": (
        account_edit("bar", FILLED, first_fill("price_ticks", 10**7)), "side or limit"
    ),
    "fill at another price": (account_edit("bar", FILLED, first_fill("price_ticks", -1)), "cash"),
    "fill without fee": (account_edit("bar", FILLED, first_fill("fee_micro", -1)), "cash"),
    "fill of more lots": (account_edit("bar", FILLED, first_fill("lots", 10**6)), "overfilled"),
    "cash in the record": (account_edit("bar", FILLED, more("cash_micro")), "cash"),
    "equity in the record": (account_edit("bar", FILLED, more("equity_micro")), "equity"),
    "peak in the record": (account_edit("bar", FILLED, more("peak_micro")), "peak"),
    "reserved in the record": (account_edit("bar", FILLED, more("reserved_micro")), "reserved"),
    "positions in the record": (
        account_edit("bar", FILLED, lambda b: b["positions"].update(ZZZ=1)), "positions"
    ),
    "mark of a held symbol": (
        account_edit("bar", FILLED, lambda b: b.update(marks=dict.fromkeys(b["marks"], 5))),
        "equity",
    ),
    "opening cash": (account_edit("opened", "", more("opening_micro")), "opening cash"),
    "decision without quorum": (
        round_edit(lambda d: d.update(agents_awake=2)), "had no quorum"
    ),
    "decision with little weight": (
        round_edit(lambda d: d.update(awake_weight=0.1)), "had no quorum"
    ),
    "decision never approved": (
        round_edit(lambda d: d.update(lots=0)), "approved nothing|not approved"
    ),
    "decision approved for more": (round_edit(more("lots")), "approval .*says"),
    "bar of a round": (
        input_edit(lambda b: b["bars"][0].__setitem__(5, b["bars"][0][5] + 1)), "decision_identity"
    ),
    "round number": (input_edit(more("round", 3)), "round_input"),
    "resume that never was": (state_edit(4, "HALTED"), "trading was HALTED"),
    "resume to reducing only": (state_edit(4, "REDUCING"), "trading was REDUCING"),
    "halt of another cell's epoch": (
        lambda _, link: rechain(link, "operations", 2, lambda b: b.update(cell=7)), "epoch"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWING)
def test_a_rechained_forgery_is_named(session: Session, name: str) -> None:
    tamper, named = KNOWING[name]
    with session.tampered() as link:
        tamper(session, link)
        with pytest.raises(Violation, match=named) as caught:
            session.verify()
        assert "content" not in str(caught.value)


def test_forgery_helper_leaves_whole_chains(session: Session) -> None:
    """A change that means nothing, rechained, is no violation: the helper itself breaks nothing."""
    with session.tampered() as link:
        rechain(link, "operations", 3, lambda body: body.update(reason="another word"))
        rechain(link, "cell/0", 8, lambda body: body.update(window={"x": 1}))
        session.verify()
    session.verify()


# -- drawdown -------------------------------------------------------------------------------


def falling(bars: Bars, moments: list[int], factor: float) -> Bars:
    """From each of ``moments`` on, all prices are lower by ``factor`` than the bar before."""
    bars = bars.copy()
    for moment in moments:
        for name in ("open", "high", "low", "close"):
            later = bars["ts"] >= STAMPS[moment]
            bars[name][later] = np.rint(bars[name][later] * factor)
    return bars


@contextmanager
def verified_all_the_time(house: House, config: SessionConfig) -> Iterator[list[object]]:
    """Verifies again and again beside what happens inside; yields findings and violations."""
    found: list[object] = []
    stop = threading.Event()

    def work() -> None:
        with connect(house.roles.read, name="test-verify") as link:
            while not stop.wait(0.05):
                try:
                    found.append(verify_session(link, config))
                except Violation as violation:
                    found.append(violation)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(20)


def test_a_drawdown_flattens_for_good_also_when_the_first_attempt_meets_no_price(
    postgres: EmbeddedPostgres, home: Home
) -> None:
    """The market falls beyond the limit, and on through the collar of the flattening orders."""
    with migrated(postgres, home) as house:
        risk = limits(min_weight_share=0.2, max_drawdown=0.02, max_daily_loss=0.5, max_sigma=5)
        config = open_session(
            house, risk=risk, models=save_models(house), first_traded=STAMPS[WARM]
        )
        fall = WARM + 8
        bars = falling(BARS, [fall, fall + 1, fall + 2], 0.8)
        with verified_all_the_time(house, config) as verified:
            run_session(house, config, bars, GateInProcess(open_gate(house)))
        assert len(verified) >= 3
        assert all(isinstance(found, Findings) for found in verified), verified
        made = Session(house, config)
        findings = made.verify()
        ((ts,),) = made.rows("SELECT min(ts) FROM orders WHERE origin = 'operator'")
        tries = made.rows("SELECT DISTINCT ts FROM orders WHERE origin = 'operator' ORDER BY ts")
        assert len(tries) >= 2  # the first was not enough
        assert made.rows("SELECT 1 FROM orders WHERE origin = 'decision' AND ts >= %s", ts) == []
        assert made.rows("SELECT symbol FROM position WHERE lots <> 0") == []
        states = made.rows("SELECT scope, state FROM trading_state")
        assert states == [(config.account, "HALTED")]
        # Voting and scoring went on to the end.
        assert findings.rounds == LENGTH
        assert made.rows("SELECT status FROM session_end") == [("finished",)]
        made.link.close()


def test_a_changed_limit_in_the_session_row_is_found(session: Session) -> None:
    change = (
        "UPDATE session SET config = convert_to(replace(convert_from(config, 'UTF8'),"
        " %s, %s), 'UTF8') WHERE session_id = %s"
    )
    name = session.config.session_id
    before = f'"max_dissent":{session.config.limits["max_dissent"]}'
    with session.house.connect() as link:
        link.execute(change, (before, '"max_dissent":0.99', name))
        altered = load_session(link, name)
        assert altered.limits["max_dissent"] == 0.99
        with pytest.raises(Violation, match="configuration"):
            verify_session(link, altered)
        link.execute(change, ('"max_dissent":0.99', before, name))
        assert load_session(link, name) == session.config
