"""The home's own token: kept privately, used again, made anew when its row is no good."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support import House, migrated

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.own_token import own_token
from data.errors import InputError
from data.store import connect
from data.tokens import LARGEST_RATE, Scope, list_tokens, revoke_token, secret_hash, split_token

pytestmark = pytest.mark.integration

BOTH = (Scope.READ, Scope.DECIDE)


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def ops(house: House) -> Iterator[psycopg.Connection]:
    with connect(house.roles.ops, name="test-ops") as connection:
        yield connection


@pytest.fixture
def mine(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def token_id(text: str) -> str:
    parts = split_token(text)
    assert parts is not None
    return parts[0]


def live(ops: psycopg.Connection) -> list[str]:
    return [token.token_id for token in list_tokens(ops) if token.revoked_at is None]


def test_it_is_made_once_for_each_name_and_kept_privately(
    ops: psycopg.Connection, mine: Home
) -> None:
    trader = own_token(ops, mine, "trader", BOTH)
    assert own_token(ops, Home(mine.path), "trader", reversed(BOTH)) == trader
    loader = own_token(ops, mine, "load", [Scope.DECIDE], 50)
    assert own_token(ops, mine, "trader", BOTH) == trader
    path = mine.path / "tokens.json"
    assert json.loads(path.read_bytes()) == {"trader": trader, "load": loader}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = list_tokens(ops)
    assert (first.name, first.scopes, first.rate_per_s) == ("trader", BOTH, LARGEST_RATE)
    assert (second.name, second.scopes, second.rate_per_s) == ("load", (Scope.DECIDE,), 50)
    parts = split_token(trader)
    assert parts is not None
    assert first.secret_hash == secret_hash(parts[1])


def test_a_revoked_one_is_replaced(ops: psycopg.Connection, mine: Home) -> None:
    old = own_token(ops, mine, "trader", BOTH)
    revoke_token(ops, token_id(old), "tester")
    new = own_token(ops, mine, "trader", BOTH)
    assert new != old
    assert live(ops) == [token_id(new)]
    assert own_token(ops, mine, "trader", BOTH) == new


def test_one_that_another_database_knew_is_replaced(
    ops: psycopg.Connection, house: House, mine: Home
) -> None:
    old = own_token(ops, mine, "trader", BOTH)
    with house.connect() as superuser:
        superuser.execute("DELETE FROM api_token")
    new = own_token(ops, mine, "trader", BOTH)
    assert live(ops) == [token_id(new)] != [token_id(old)]


def test_another_secret_or_a_mangled_text_is_replaced(ops: psycopg.Connection, mine: Home) -> None:
    old = own_token(ops, mine, "trader", BOTH)
    path = mine.path / "tokens.json"
    for text in (old[:-64] + "0" * 64, "nonsense"):
        path.write_text(json.dumps({"trader": text}))
        assert own_token(ops, mine, "trader", BOTH) not in {text, old}
    assert token_id(old) in live(ops)  # not ours to revoke: we could not show its secret


@pytest.mark.parametrize(("scopes", "rate"), [((Scope.READ,), LARGEST_RATE), (BOTH, 9)])
def test_other_scopes_or_another_rate_replace_and_revoke_it(
    ops: psycopg.Connection, mine: Home, scopes: tuple[Scope, ...], rate: int
) -> None:
    old = own_token(ops, mine, "trader", BOTH)
    new = own_token(ops, mine, "trader", scopes, rate)
    assert live(ops) == [token_id(new)] != [token_id(old)]


def test_a_damaged_file_is_one_clear_line(ops: psycopg.Connection, mine: Home) -> None:
    (mine.path / "tokens.json").write_text("{")
    with pytest.raises(InputError, match=r"tokens\.json: damaged .* delete it"):
        own_token(ops, mine, "trader", BOTH)
    assert list_tokens(ops) == []
