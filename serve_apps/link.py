"""One asynchronous connection to PostgreSQL that is opened again after it was lost."""

from __future__ import annotations

import asyncio

import psycopg

from data.store import connect_async
from data.tokens import Token, load_live


class Link:
    """Opens at first use. Retries nothing by itself: an error is the caller's to judge."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._opening = asyncio.Lock()
        self._connection: psycopg.AsyncConnection | None = None

    async def connection(self) -> psycopg.AsyncConnection:
        """The live connection; psycopg.OperationalError when there is none to be had."""
        async with self._opening:
            if self._connection is None or self._connection.closed:
                self._connection = await connect_async(self._url, name=self._name)
            return self._connection

    async def tokens(self) -> list[Token]:
        """The live access tokens: an Authenticator's ``load``."""
        return await load_live(await self.connection())

    async def close(self) -> None:
        """Closes it; the next use opens another."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
