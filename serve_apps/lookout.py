"""Looks every second at what trading needs besides this process: leases and a readable state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg

from serve_apps.link import Link

LOOK_S = 1.0
TIMEOUT_S = 3.0
OLDEST_S = 5.0  # a look that is older says nothing any more

_LOOK = """
SELECT (SELECT epoch FROM gate_lease WHERE cell = %(cell)s),
       (SELECT count(*) FROM trading_state WHERE scope IN ('*', %(account)s)),
       EXISTS (SELECT 1 FROM trader_lease
               WHERE account = %(account)s AND expires_at > clock_timestamp())
"""


class Lookout:
    """``account`` names the account of the session that is served, None without a session.

    ``gate`` asks the gate itself why it judges nothing; empty when it does.
    """

    def __init__(
        self,
        link: Link,
        cell: int,
        account: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
        gate: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._gate = gate
        self._link = link
        self._cell = cell
        self._account = account
        self._clock = clock
        self._why = "not looked yet"
        self._looked = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @property
    def why(self) -> str:
        """Why nothing may trade now, as of the last look; empty when something may."""
        if self._clock() - self._looked > OLDEST_S:
            return self._why or "the trading state was not read for some seconds"
        return self._why

    async def start(self) -> None:
        """Looks once, then goes on in the background."""
        await self.look()
        self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Ends the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=TIMEOUT_S)

    async def look(self) -> None:
        """One look; an error is a reason, never a healthy state."""
        account = self._account()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._link.connection()
                values = {"cell": self._cell, "account": account}
                cursor = await connection.execute(_LOOK, values)
                row = await cursor.fetchone()
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._why = f"the trading state cannot be read: {type(error).__name__}"
            return
        self._looked = self._clock()
        epoch, _, leased = row or (None, 0, False)
        if epoch is None:
            self._why = "no gate holds the cell's lease"
        elif account is not None and not leased:
            self._why = f"no trader holds the lease of {account}"
        else:
            self._why = "" if self._gate is None else await self._gate()

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()
