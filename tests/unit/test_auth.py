"""The authenticator: who passes, what each refusal says, and how long the cache is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest

from data.tokens import MAX_LIVE, Scope, Token, secret_hash
from serve_apps import auth
from serve_apps.auth import GRACE_S, Authenticator
from serve_apps.wire import Refused

SECRET = "5" * 64
OTHER = "6" * 64
TOKEN = f"sph_0123456789ab_{SECRET}"


def token(key: str = "0123456789ab", secret: str = SECRET, *scopes: Scope) -> Token:
    return Token(
        key, "ann", secret_hash(secret), scopes or (Scope.READ, Scope.DECIDE), 7,
        datetime(2026, 1, 1, tzinfo=UTC), "tester", None,
    )  # fmt: skip


class Table:
    """The tokens' table as a test sets it; an exception in place of the rows is raised."""

    def __init__(self, *tokens: Token) -> None:
        self.rows: Sequence[Token] | Exception = tokens
        self.read = asyncio.Event()

    async def load(self) -> Sequence[Token]:
        self.read.set()
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows


class Budget:
    """A limiter that counts down."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.asked: list[tuple[str, int]] = []

    async def take(self, token_id: str, rate_per_s: int) -> bool:
        self.asked.append((token_id, rate_per_s))
        self.left -= 1
        return self.left >= 0


class Ticks:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def loaded(table: Table, clock: Ticks | None = None, budget: int = 10) -> Authenticator:
    made = Authenticator(table.load, Budget(budget), clock or Ticks())
    asyncio.run(made.refresh())
    return made


def refused(made: Authenticator, header: str | None, scope: Scope = Scope.READ) -> Refused:
    with pytest.raises(Refused) as told:
        made.check(header, scope)
    return told.value


def test_a_live_token_with_the_scope_passes() -> None:
    made = loaded(Table(token()))
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        caller = made.check(header, Scope.DECIDE)
        assert (caller.token_id, caller.name, caller.rate_per_s) == ("0123456789ab", "ann", 7)
        assert caller.scopes == {Scope.READ, Scope.DECIDE}


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", TOKEN, "Bearers " + TOKEN])
def test_no_token(header: str | None) -> None:
    told = refused(loaded(Table(token())), header)
    assert (told.problem.status, told.problem.code) == (401, "no_token")
    assert told.headers == {"WWW-Authenticate": 'Bearer realm="sapphire"'}


@pytest.mark.parametrize(
    "text",
    [
        f"sph_0123456789ab_{OTHER}",
        f"sph_ba9876543210_{SECRET}",
        "sph_ba9876543210_" + "0" * 64,
        f"{TOKEN}0",
        "x" * 100_000,
        "",
        "é" * 81,
    ],
)
def test_bad_token(text: str) -> None:
    told = refused(loaded(Table(token())), f"Bearer {text}")
    assert (told.problem.status, told.problem.code) == (401, "bad_token")
    assert 'error="invalid_token"' in told.headers["WWW-Authenticate"]
    assert SECRET not in told.problem.detail


def test_one_tokens_secret_does_not_open_another() -> None:
    made = loaded(Table(token(), token("ba9876543210", OTHER)))
    made.check(f"Bearer sph_ba9876543210_{OTHER}", Scope.READ)
    assert refused(made, f"Bearer sph_ba9876543210_{SECRET}").problem.code == "bad_token"


@pytest.mark.parametrize("held", list(Scope))
def test_a_scope_opens_itself_and_no_other(held: Scope) -> None:
    made = loaded(Table(token("0123456789ab", SECRET, held)))
    for scope in Scope:
        if scope is held:
            made.check(f"Bearer {TOKEN}", scope)
        else:
            told = refused(made, f"Bearer {TOKEN}", scope)
            assert (told.problem.status, told.problem.code) == (403, "missing_scope")
            assert f'scope="{scope}"' in told.headers["WWW-Authenticate"]


def test_an_unknown_id_does_the_work_of_a_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    made = loaded(Table(token()))
    compared: list[int] = []
    real = auth.hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(len(a) + len(b))
        return real(a, b)

    monkeypatch.setattr(auth.hmac, "compare_digest", counted)
    for text in (f"sph_0123456789ab_{OTHER}", f"sph_ba9876543210_{OTHER}"):
        refused(made, f"Bearer {text}")
    assert compared == [64, 64]


def test_every_request_is_refused_before_the_first_read() -> None:
    made = Authenticator(Table(token()).load, Budget(1), Ticks())
    told = refused(made, f"Bearer {TOKEN}")
    assert (told.problem.status, told.problem.code) == (503, "tokens_unreadable")
    assert told.retry_after > 0
    assert made.fault is not None


@pytest.mark.parametrize(
    "error", [psycopg.OperationalError("gone"), OSError("gone"), TimeoutError()]
)
def test_the_cache_is_honoured_for_its_grace_and_no_longer(error: Exception) -> None:
    table, clock = Table(token()), Ticks()
    made = loaded(table, clock)
    table.rows = error
    clock.now += GRACE_S
    asyncio.run(made.refresh())
    assert made.fault is None
    made.check(f"Bearer {TOKEN}", Scope.READ)
    clock.now += 0.1
    told = refused(made, f"Bearer {TOKEN}")
    assert (told.problem.status, told.problem.code) == (503, "tokens_unreadable")
    assert type(error).__name__ in told.problem.detail
    table.rows = [token()]
    asyncio.run(made.refresh())
    made.check(f"Bearer {TOKEN}", Scope.READ)


def test_more_tokens_than_the_cache_may_hold_change_nothing() -> None:
    table, clock = Table(token()), Ticks()
    made = loaded(table, clock)
    table.rows = [token(f"{number:012x}") for number in range(MAX_LIVE + 1)]
    asyncio.run(made.refresh())
    made.check(f"Bearer {TOKEN}", Scope.READ)
    clock.now += GRACE_S + 1
    assert refused(made, f"Bearer {TOKEN}").problem.status == 503
    assert str(MAX_LIVE) in (made.fault or "")


def test_a_revoked_token_is_gone_with_the_next_read_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "REFRESH_S", 0.01)

    async def story() -> None:
        table = Table(token())
        made = Authenticator(table.load, Budget(1))
        await made.start()
        made.check(f"Bearer {TOKEN}", Scope.READ)
        table.rows = []
        for _ in range(2):  # the second read begins after the first was taken over
            table.read.clear()
            await asyncio.wait_for(table.read.wait(), 10)
        assert refused(made, f"Bearer {TOKEN}").problem.code == "bad_token"
        await made.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())


def test_the_rate_is_asked_once_for_each_request_and_only_for_a_good_token() -> None:
    budget = Budget(2)

    async def story() -> None:
        made = Authenticator(Table(token()).load, budget, Ticks())
        await made.refresh()
        for header, scope in ((None, Scope.READ), (f"Bearer {TOKEN}", Scope.OPERATE)):
            with pytest.raises(Refused):
                await made.admit(header, scope)
        assert budget.asked == []
        for _ in range(2):
            await made.admit(f"Bearer {TOKEN}", Scope.READ)
        with pytest.raises(Refused) as told:
            await made.admit(f"Bearer {TOKEN}", Scope.READ)
        assert (told.value.problem.status, told.value.problem.code) == (429, "rate_limited")
        assert told.value.retry_after == 1

    asyncio.run(story())
    assert budget.asked == [("0123456789ab", 7)] * 3


def test_a_token_made_a_moment_ago_is_looked_for_once_and_strangers_cannot_hammer() -> None:
    clock, table = Ticks(), Table()
    made = loaded(table, clock)

    async def asks() -> None:
        with pytest.raises(Refused, match="not known"):
            await made.admit(f"Bearer {TOKEN}", Scope.READ)
        table.rows = [token()]
        table.read.clear()
        # Too soon after the last look: refused without another one.
        with pytest.raises(Refused, match="not known"):
            await made.admit(f"Bearer {TOKEN}", Scope.READ)
        assert not table.read.is_set()
        clock.now += auth.READ_AGAIN_S
        caller = await made.admit(f"Bearer {TOKEN}", Scope.READ)
        assert caller.name == "ann"

    asyncio.run(asks())
