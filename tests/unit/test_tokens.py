"""Access tokens in a real PostgreSQL: made, listed, revoked, journalled, never kept in clear."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest
from support import House, migrated

import data.tokens
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.errors import InputError
from data.journal import GENESIS, OPERATIONS, Head, broken_link, read_chain
from data.store import connect
from data.tokens import (
    LARGEST_RATE,
    Scope,
    create_token,
    list_tokens,
    load_token,
    revoke_token,
    secret_hash,
    split_token,
)
from serve_apps import auth
from serve_apps.link import Link
from serve_apps.wire import Refused

pytestmark = pytest.mark.integration


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def ops(house: House) -> Iterator[psycopg.Connection]:
    with connect(house.roles.ops, name="test-ops") as connection:
        yield connection


def parts(text: str) -> tuple[str, str]:
    found = split_token(text)
    assert found is not None
    return found


def live(house: House) -> list[str]:
    """Token ids as a coordinator reads them."""

    async def read() -> list[str]:
        link = Link(house.roles.coordinator, "test-link")
        try:
            return [token.token_id for token in await link.tokens()]
        finally:
            await link.close()

    return asyncio.run(read())


def test_a_token_is_kept_as_its_hash_and_revoked_once(
    house: House, ops: psycopg.Connection
) -> None:
    text = create_token(ops, "ann@desk", [Scope.DECIDE, Scope.READ, Scope.READ], 2_000, "tester")
    token_id, secret = parts(text)
    (token,) = list_tokens(ops)
    assert (token.token_id, token.name, token.rate_per_s) == (token_id, "ann@desk", 2_000)
    assert token.scopes == (Scope.READ, Scope.DECIDE)
    assert token.created_by == "tester"
    assert token.secret_hash == secret_hash(secret)
    assert abs(token.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert live(house) == [token_id]
    assert revoke_token(ops, token_id, "tester")
    assert live(house) == []
    first = load_token(ops, token_id)
    assert first is not None
    assert first.revoked_at is not None
    assert not revoke_token(ops, token_id, "tester")
    assert load_token(ops, token_id) == first
    (line,) = list_tokens(ops)
    assert line == first


def test_a_revocation_reaches_a_running_authenticator(
    house: House, ops: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REFRESH_S", 0.02)
    header = f"Bearer {create_token(ops, 'x', [Scope.READ], 1, 't')}"

    async def story() -> None:
        link = Link(house.roles.coordinator, "test-link")
        guard = auth.Authenticator(link.tokens, Unlimited())
        await guard.start()
        try:
            token_id = guard.check(header, Scope.READ).token_id
            revoke_token(ops, token_id, "t")
            async with asyncio.timeout(20):
                while guard.knows(token_id):
                    await asyncio.sleep(0.01)
            with pytest.raises(Refused) as told:
                guard.check(header, Scope.READ)
            assert told.value.problem.code == "bad_token"
            # A restarted server costs a read or two, not the service.
            with house.connect() as superuser:
                superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'test-link'"
                )
            later = f"Bearer {create_token(ops, 'y', [Scope.READ], 1, 't')}"
            token_id = later.split("_")[1]
            async with asyncio.timeout(20):
                while not guard.knows(token_id):
                    await asyncio.sleep(0.01)
            guard.check(later, Scope.READ)
        finally:
            await guard.stop()
            await link.close()

    asyncio.run(story())


class Unlimited:
    """No limit."""

    async def take(self, token_id: str, rate_per_s: int) -> bool:
        return True


def test_the_journal_tells_of_both_and_holds_no_secret(ops: psycopg.Connection) -> None:
    text = create_token(ops, "bot", [Scope.OPERATE], 5, "tester")
    token_id, secret = parts(text)
    revoke_token(ops, token_id, "other")
    before, kinds = Head(0, GENESIS), []
    for record in read_chain(ops, OPERATIONS):
        assert broken_link(record, before) is None
        before = record.head
        body = msgspec.json.decode(record.payload)
        kinds.append((record.kind, body["token_id"], body["actor"]))
        assert secret.encode() not in record.payload
        assert secret_hash(secret).hex().encode() not in record.payload
    assert kinds == [("token_created", token_id, "tester"), ("token_revoked", token_id, "other")]
    row = ops.execute("SELECT t::text FROM api_token t").fetchone()
    assert row is not None
    assert secret not in row[0]


def test_secrets_are_256_random_bits_and_differ(ops: psycopg.Connection) -> None:
    made = [parts(create_token(ops, "x", [Scope.READ], 1, "t")) for _ in range(3)]
    assert len({token_id for token_id, _ in made}) == len({secret for _, secret in made}) == 3
    assert all(len(bytes.fromhex(secret)) == 32 for _, secret in made)


@pytest.mark.parametrize(
    ("name", "scopes", "rate", "why"),
    [
        ("", [Scope.READ], 1, "token name ''"),
        ("a\nb", [Scope.READ], 1, "token name"),
        ("x" * 65, [Scope.READ], 1, "token name"),
        ("x", [], 1, "needs a scope: read, decide, operate"),
        ("x", [Scope.READ], 0, "rate 0"),
        ("x", [Scope.READ], LARGEST_RATE + 1, "rate"),
    ],
)
def test_what_makes_no_token(
    ops: psycopg.Connection, name: str, scopes: list[Scope], rate: int, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        create_token(ops, name, scopes, rate, "tester")
    assert list_tokens(ops) == []
    assert list(read_chain(ops, OPERATIONS)) == []


def test_an_unknown_id_is_refused_and_a_pasted_token_not_repeated(ops: psycopg.Connection) -> None:
    text = create_token(ops, "x", [Scope.READ], 1, "t")
    with pytest.raises(InputError, match="token 0123456789ab is not known"):
        revoke_token(ops, "0123456789ab", "t")
    with pytest.raises(InputError) as told:
        revoke_token(ops, text, "t")
    assert parts(text)[1] not in str(told.value)


def test_more_live_tokens_than_a_cache_holds_are_refused(
    ops: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.tokens, "MAX_LIVE", 2)
    first = parts(create_token(ops, "x", [Scope.READ], 1, "t"))[0]
    create_token(ops, "x", [Scope.READ], 1, "t")
    with pytest.raises(InputError, match="2 tokens are live"):
        create_token(ops, "x", [Scope.READ], 1, "t")
    revoke_token(ops, first, "t")
    create_token(ops, "x", [Scope.READ], 1, "t")
    assert len(list_tokens(ops)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sph_",
        "sph_0123456789ab_" + "a" * 63,
        "sph_0123456789ab_" + "a" * 65,
        "SPH_0123456789ab_" + "a" * 64,
        "sph_0123456789abc" + "a" * 64,
        "sph_0123456789_ab" + "a" * 64,
        "sph_0123456789ab_" + "é" * 64,
    ],
)
def test_what_has_not_a_tokens_form(text: str) -> None:
    assert split_token(text) is None
