"""schemathesis over the OpenAPI document: no 5xx, no undocumented status, no undocumented shape.

The number of cases of each operation is SAPPHIRE_FUZZ_CASES (25): for 10,000 in all run

    SAPPHIRE_FUZZ_CASES=625 python -m pytest tests/integration/test_api_fuzz.py --timeout 3600
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from api_support import Hosted, feed, hosted_api
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support import (
    Account,
    Cell,
    GateInProcess,
    TableLog,
    Voters,
    by_moment,
    migrated,
    open_gate,
    open_session,
    random_bars,
)

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.tokens import Scope
from serve_apps.routes import ROUTES

CASES = int(os.environ.get("SAPPHIRE_FUZZ_CASES", "25"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(route.method, route.path) for route in ROUTES]


@pytest.fixture(scope="module")
def hosted(postgres: EmbeddedPostgres, home: Home) -> Iterator[Hosted]:
    with migrated(postgres, home) as house:
        config = open_session(house)
        cell = Cell(house, Voters(TableLog(house.roles.read)), GateInProcess(open_gate(house)))
        with Account(house, config), hosted_api(house, cell) as made:
            feed(made, config, by_moment(random_bars(3)))
            yield made


@pytest.fixture(scope="module")
def session_id(hosted: Hosted) -> str:
    answer = httpx.get(f"{hosted.url}/v1/session", headers=hosted.headers())
    return str(answer.json()["session_id"])


@pytest.fixture(scope="module")
def document(hosted: Hosted) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{hosted.url}/openapi.json", headers=hosted.headers())


def come_home(body: dict[str, Any], session_id: str) -> None:
    """Names the session and a symbol that exist: what follows those checks is reached too."""
    body["session_id"] = session_id
    bars = body.get("bars")
    for part in [body, *(bars if isinstance(bars, list) else [])]:
        if isinstance(part, dict) and "symbol" in part:
            part["symbol"] = "AAA"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nothing_breaks_the_surface(
    hosted: Hosted,
    session_id: str,
    document: schemathesis.schemas.BaseSchema,
    method: str,
    path: str,
) -> None:
    operation = document[path][method]
    (route,) = [route for route in ROUTES if (route.method, route.path) == (method, path)]
    headers = hosted.headers(route.scope or Scope.READ)
    modes = list(schemathesis.GenerationMode)
    strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]

    @given(st.one_of(strategies), st.booleans())
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def run(case: schemathesis.Case, at_home: bool) -> None:
        if at_home and isinstance(case.body, dict):
            come_home(case.body, session_id)
        case.call_and_validate(headers=headers, checks=CHECKS)

    run()


def test_the_cases_reached_every_route(hosted: Hosted) -> None:
    told = httpx.get(f"{hosted.url}/metrics").text
    for route in ROUTES:
        assert f'route="{route.name}",status="' in told
    assert 'status="500"' not in told
