"""A bad bar locks a held symbol; an operator's unlock lets it trade again. Real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from support import (
    Account,
    House,
    by_moment,
    forecast,
    judge,
    migrated,
    open_gate,
    open_session,
    random_bars,
)

from actors.checks import Code, Verdict
from cloud_trader.control import unlock
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.store import connect

pytestmark = pytest.mark.integration


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def test_a_bad_bar_locks_a_held_symbol_until_an_operator_unlocks_it(house: House) -> None:
    config = open_session(house, symbols=("AAA", "BBB"))
    bars = by_moment(random_bars(4, 2, volatility=0.001))
    gate = open_gate(house)
    with Account(house, config) as account:
        account.moment(bars[0])
        first = judge(house, gate, forecast(config, 1, bars[0]))
        assert [d.verdict for d in first] != [Verdict.DENIED] * 2
        assert account.place("AAA", int(bars[0]["ts"][0]))
        # AAA is held after this moment's fill; BBB is not, so its bad bar locks nothing.
        account.moment(bars[1], locked=(0, 1))
        second = judge(house, gate, forecast(config, 2, bars[1], up=0.05))
        assert (second[0].verdict, second[0].code) == (Verdict.DENIED, Code.SYMBOL_LOCKED)
        assert second[1].code != Code.SYMBOL_LOCKED
        with connect(house.roles.ops, name="test-ops") as operator:
            assert unlock(operator, "BBB", "looked", "tester") == []
            assert unlock(operator, "AAA", "looked", "tester") == [config.account]
            with pytest.raises(ValueError, match="reason"):
                unlock(operator, "AAA", " ", "tester")
            row = operator.execute("SELECT payload FROM journal WHERE kind = 'unlock'").fetchone()
        assert row is not None
        assert msgspec.json.decode(row[0])["symbol"] == "AAA"
        account.moment(bars[2])
        third = judge(house, gate, forecast(config, 3, bars[2], up=0.05))
        assert third[0].code != Code.SYMBOL_LOCKED
        assert third[0].side == -1
