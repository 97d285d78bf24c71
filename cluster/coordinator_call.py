"""Calls of the commands to the running coordinator, with the home's own token."""

from __future__ import annotations

import json
from typing import Any

import httpx

from cluster.home import Home
from cluster.processes import ServiceError

COMMANDS_TOKEN = "commands"  # noqa: S105 - its name in the home's tokens.json


class Refusal(ServiceError):
    """The coordinator said no: nothing was changed."""


def get(home: Home, address: str, path: str, timeout_s: float) -> dict[str, Any]:
    """The JSON object at ``path``; ServiceError says why there is none."""
    return _call(home, "GET", f"{address}{path}", None, timeout_s)


def post(
    home: Home, address: str, path: str, body: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """The JSON object that a POST answers; ServiceError says why there is none."""
    return _call(home, "POST", f"{address}{path}", body, timeout_s)


def token(home: Home) -> str:
    """The home's token for its commands; empty when none was made."""
    try:
        kept: dict[str, str] = json.loads((home.path / "tokens.json").read_bytes())
    except FileNotFoundError:
        return ""
    except ValueError as error:
        raise ServiceError(f"{home.path / 'tokens.json'}: damaged ({error})") from error
    return kept.get(COMMANDS_TOKEN, "")


def _call(
    home: Home, method: str, url: str, body: dict[str, Any] | None, timeout_s: float
) -> dict[str, Any]:
    word = token(home)
    headers = {"Authorization": f"Bearer {word}"} if word else {}
    try:
        answer = httpx.request(method, url, json=body, headers=headers, timeout=timeout_s)
        found = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceError(f"{method} {url}: {str(error) or type(error).__name__}") from error
    if not isinstance(found, dict):
        raise ServiceError(f"{method} {url}: no JSON object")
    if answer.status_code != httpx.codes.OK:
        why = found.get("detail") or found.get("title") or answer.text
        kind = Refusal if answer.is_client_error else ServiceError
        raise kind(f"{method} {url}: HTTP {answer.status_code}: {why}")
    return found
