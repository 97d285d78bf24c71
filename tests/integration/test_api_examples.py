"""The shell examples of docs/api.md work as typed."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from api_support import Hosted, hosted_api, make_token
from support import (
    Account,
    Cell,
    GateInProcess,
    House,
    TableLog,
    Voters,
    migrated,
    open_gate,
    open_session,
)

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.tokens import Scope


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture
def hosted(house: House) -> Iterator[Hosted]:
    config = open_session(house, symbols=("AAPL", "IBM"), mode="paper")
    cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))
    with Account(house, config), hosted_api(house, cell) as made:
        yield made


def examples(page: str) -> list[str]:
    """The page's commands, without what makes the token, and blocks of other languages."""
    return re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_every_example_is_answered(hosted: Hosted, house: House, repository: Path) -> None:
    blocks = examples((repository / "docs" / "api.md").read_text())
    script = "".join(blocks).replace("localhost:8081", hosted.url)
    count = script.count("curl -s")
    assert count >= 15
    # Each answer goes to a line of its own with its status.
    script = script.replace("curl -s", "curl -s -w '\\n%{http_code}\\n'", ).replace(
        "$(curl -s -w '\\n%{http_code}\\n'", "$(curl -s"
    )  # fmt: skip
    token = make_token(house, Scope.READ, Scope.DECIDE)
    give_up = time.monotonic() + 60
    while httpx.get(f"{hosted.url}/v1/agents", headers=_bearer(token)).status_code == 401:
        assert time.monotonic() < give_up  # a new token is known after a second
    deadline = time.monotonic() + 60
    while True:  # the agents may have to be compiled first: then the first answer is 503
        done = subprocess.run(
            ["bash", "-euc", script],
            env=os.environ | {"TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        statuses = re.findall(r"^([1-5]\d\d)$", done.stdout, re.MULTILINE)
        if "503" not in statuses or time.monotonic() > deadline:
            break
    assert statuses == ["200", "202", *["200"] * (count - 3)], done.stdout
    story = msgspec.json.decode(done.stdout.splitlines()[4])
    assert story["symbol"] == "AAPL"
    assert story["state"] == "decided"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
