"""The trader's lease: one active trader per account, checked inside every order transaction."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import psycopg
import structlog

from data.store import connect

log = structlog.get_logger("trader")

# Takes a free or expired lease, or renews one's own; a living holder's lease stays untouched.
_TAKE = """
INSERT INTO trader_lease (account, epoch, holder, expires_at)
VALUES (%(account)s, 1, %(holder)s, clock_timestamp() + make_interval(secs => %(ttl)s))
ON CONFLICT (account) DO UPDATE
SET epoch = trader_lease.epoch + (trader_lease.holder <> EXCLUDED.holder)::int,
    holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
WHERE trader_lease.holder = EXCLUDED.holder OR trader_lease.expires_at < clock_timestamp()
RETURNING epoch
"""
_RELEASE = """
UPDATE trader_lease SET expires_at = clock_timestamp() WHERE account = %s AND holder = %s
"""


class TraderLease:
    """Holds the account's lease on a connection of its own and renews it in a thread.

    ``held()`` is the holder's own cautious view: it ends with the lease that was last confirmed,
    measured from before the renewal was sent.
    """

    def __init__(
        self,
        url: str,
        account: str,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.holder = uuid.uuid4().hex
        self.account = account
        self._url = url
        self._ttl_s = ttl_s
        self._clock = clock
        self._until = -1.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="trader-lease", daemon=True)

    def acquire(self) -> bool:
        """Takes the lease if it is free; starts renewing it."""
        if not self._take():
            return False
        self._thread.start()
        return True

    def held(self) -> bool:
        """Whether the lease is surely still ours."""
        return self._clock() < self._until

    def release(self) -> None:
        """Stops renewing and gives the lease back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._until = -1.0
        try:
            with connect(self._url, name="trader-lease") as connection:
                connection.execute(_RELEASE, (self.account, self.holder))
        except psycopg.Error as error:
            log.warning("lease not given back; it expires", error=type(error).__name__)

    def _take(self) -> bool:
        asked_at = self._clock()
        with connect(self._url, name="trader-lease") as connection:
            row = connection.execute(
                _TAKE, {"account": self.account, "holder": self.holder, "ttl": self._ttl_s}
            ).fetchone()
        if row is None:
            return False
        self._until = asked_at + self._ttl_s
        return True

    def _renew(self) -> None:
        while not self._stop.wait(self._ttl_s / 4):
            try:
                if not self._take():
                    log.error("lease lost to another trader", account=self.account)
                    self._until = -1.0
                    return
            except psycopg.Error as error:
                # Not renewed: the lease runs out by itself, and nothing is sent after it.
                log.warning("lease not renewed", error=type(error).__name__)
