"""``sapphire token`` as a person types it, against a running home and against none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import House, migrated

from cluster import cli
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home, Instance
from data.store import connect
from data.tokens import Scope, list_tokens, secret_hash, split_token

pytestmark = pytest.mark.integration

Sapphire = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sapphire(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Sapphire:
    """Exit code, stdout and stderr of the command in this process, with a home of its own."""
    monkeypatch.setenv("SAPPHIRE_HOME", str(tmp_path / "mine"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sapphire", "token", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home, tmp_path: Path) -> Iterator[House]:
    """A home that runs: its lock is held and its instance file names the database."""
    mine = Home(tmp_path / "mine").create()
    with migrated(postgres, home) as made, mine.lock():
        addresses = {"operations": made.roles.ops, "database": made.roles.read}
        mine.write_instance(Instance(pid=1, instance_id="x", addresses=addresses))
        yield made


def create(sapphire: Sapphire, *arguments: str) -> str:
    code, out, err = sapphire("create", *arguments)
    assert code == 0, err
    return out.strip()


def test_create_prints_the_token_once_and_alone(sapphire: Sapphire, house: House) -> None:
    code, out, err = sapphire(
        "create", "--name", "my [bot]", "--scope", "read", "--scope", "decide", "--rate", "2000"
    )
    assert code == 2  # brackets are no part of a name
    assert "token name 'my [bot]'" in err
    code, out, err = sapphire(
        "create", "--name", "bot", "--scope", "read", "--scope", "decide", "--rate", "2000"
    )
    assert code == 0
    (text,) = out.splitlines()
    parts = split_token(text)
    assert parts is not None
    assert parts[0] in err
    assert parts[1] not in err
    assert "decide, read; 2000 requests a second" in err
    with connect(house.roles.read, name="test") as connection:
        (token,) = list_tokens(connection)
    assert (token.token_id, token.secret_hash) == (parts[0], secret_hash(parts[1]))
    assert (token.scopes, token.rate_per_s) == ((Scope.READ, Scope.DECIDE), 2_000)


def test_list_and_revoke(sapphire: Sapphire, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "no tokens yet" in sapphire("list")[1]
    text = create(sapphire, "--name", "bot", "--scope", "operate")
    token_id, secret = text[4:16], text[17:]
    code, out, _ = sapphire("list")
    assert code == 0
    (line,) = [line for line in out.splitlines() if token_id in line]
    assert line.split()[:4] == [token_id, "bot", "operate", "1000"]
    assert line.rstrip().endswith("live")
    assert secret not in out
    assert sapphire("revoke", token_id)[:2] == (0, f"token {token_id} is revoked\n")
    assert sapphire("revoke", token_id)[:2] == (0, f"token {token_id} was revoked before\n")
    out = sapphire("list", "--json")[1]
    (row,) = json.loads(out)["tokens"]
    assert (row["token_id"], row["scopes"], row["rate_per_s"]) == (token_id, ["operate"], 1_000)
    assert row["revoked_at"] is not None
    assert secret not in out
    assert secret_hash(secret).hex() not in out
    (line,) = [line for line in sapphire("list")[1].splitlines() if token_id in line]
    assert line.rstrip().endswith("revoked")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("create", "--name", "x", "--scope", "write"), "--scope: 'write' is not a valid Scope"),
        (("create", "--name", "x", "--scope", "read", "--rate", "0"), "rate 0: give 1 to"),
        (("revoke", "0123456789ab"), "token 0123456789ab is not known"),
        (("revoke", "sph_0123456789ab_" + "f" * 64), "that is no token id"),
    ],
)
def test_a_mistake_is_one_line(
    sapphire: Sapphire, house: House, arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = sapphire(*arguments)
    assert (code, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1
    assert "ffff" not in err


def test_where_nothing_ran_yet(sapphire: Sapphire) -> None:
    code, out, err = sapphire("list")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "nothing has run in" in err


def test_a_database_without_the_table(
    sapphire: Sapphire, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    code, _, err = sapphire("create", "--name", "x", "--scope", "read")
    assert (code, err.count("\n")) == (2, 1)
    assert "no tokens yet" in err


def test_a_database_that_is_away(sapphire: Sapphire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hidden-word@127.0.0.1:1/x")
    code, _, err = sapphire("list")
    assert (code, err.count("\n")) == (1, 1)
    assert "hidden-word" not in err


def test_a_role_without_the_right(
    sapphire: Sapphire, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", house.roles.coordinator)
    code, out, err = sapphire("create", "--name", "x", "--scope", "read")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "permission denied" in err
