"""The database for a command beside a run: the running one's, or one started for the command."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from cluster.processes import marker
from cluster.settings import ClusterSettings
from data.errors import InputError
from data.store import ROLES, migrate, with_user


@contextmanager
def database(settings: ClusterSettings, home: Home, role: str) -> Iterator[str]:
    """The address for ``role`` ('ops' or 'read'); InputError when there is no database yet."""
    if settings.database_url:
        yield settings.database_url
        return
    if home.is_locked():
        instance = home.read_instance()
        name = {"read": "database", "ops": "operations"}[role]
        if instance is None or name not in instance.addresses:
            raise InputError(f"a sapphire is just starting in {home.path}: try again in a moment")
        yield instance.addresses[name]
        return
    if not (home.path / "postgres").is_dir():
        raise InputError(f"nothing has run in {home.path} yet: start with 'sapphire run'")
    with home.lock():
        server = EmbeddedPostgres(home, marker(home.hash, secrets.token_hex(8)))
        try:
            superuser = server.start()
            migrate(superuser)
            user = f"sapphire_{role}"
            if user not in ROLES:
                raise ValueError(role)
            yield with_user(superuser, user, home.secret(user))
        finally:
            server.stop()
