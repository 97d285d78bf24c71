"""The home's own tokens: for the commands and services that this installation starts itself."""

from __future__ import annotations

import getpass
import hmac
import json
from collections.abc import Iterable

import psycopg

from cluster.home import Home, write_private
from data.errors import InputError
from data.tokens import (
    LARGEST_RATE,
    Scope,
    create_token,
    load_token,
    revoke_token,
    secret_hash,
    split_token,
)


def own_token(
    connection: psycopg.Connection,
    home: Home,
    name: str,
    scopes: Iterable[Scope],
    rate_per_s: int = LARGEST_RATE,
) -> str:
    """The text of the home's token ``name``, kept in ``tokens.json`` (mode 600) below the home.

    Made at its first use, and again when its row is revoked, missing, or of other scopes or rate;
    one that is still live is revoked then. ``connection`` is the operator's role. Only the holder
    of the home's lock may call this: two writers could lose a token.
    """
    path = home.path / "tokens.json"
    try:
        kept: dict[str, str] = json.loads(path.read_bytes())
    except FileNotFoundError:
        kept = {}
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); delete it: new tokens are made") from error
    wanted = frozenset(scopes)
    parts = split_token(kept.get(name, ""))
    row = load_token(connection, parts[0]) if parts else None
    if parts and row and row.revoked_at is None:
        same = hmac.compare_digest(row.secret_hash, secret_hash(parts[1]))
        if same and frozenset(row.scopes) == wanted and row.rate_per_s == rate_per_s:
            return kept[name]
        if same:
            revoke_token(connection, row.token_id, getpass.getuser())
    kept[name] = create_token(connection, name, wanted, rate_per_s, getpass.getuser())
    write_private(path, json.dumps(kept, indent=1).encode())
    return kept[name]
