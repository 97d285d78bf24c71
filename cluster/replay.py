"""``sapphire replay``: recompute a recorded session, and say whether everything comes out equal."""

from __future__ import annotations

import sys
import time

from psycopg import IsolationLevel
from rich.console import Console

from cloud_trader.difference import Difference
from cloud_trader.replay import Findings, replay_session
from cloud_trader.verification import verify_session
from cloud_trader.violation import Violation
from cluster.database import database
from cluster.fingerprint import differing, fingerprint
from cluster.home import Home
from cluster.settings import load_cluster
from cluster.verify import chosen_session
from data.records import SessionConfig
from data.store import connect

SAME, DIFFERENT, OTHER_FINGERPRINT = 0, 1, 3


def replay(session: str) -> int:
    """0 when all is identical; 1 with the first difference; 3 when equal on another fingerprint."""
    began = time.monotonic()
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "read") as url, connect(url, name="sapphire-replay") as link:
        config = chosen_session(link, session)
        parts = differing(config.fingerprint, fingerprint())
        link.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with link.transaction():
                verify_session(link, config)
                found = replay_session(link, config, exact=not parts)
        except Violation as violation:
            print(f"VIOLATION in session {config.session_id}: {violation}", file=sys.stderr)
            return DIFFERENT
        except Difference as difference:
            print(f"DIFFERENCE in session {config.session_id}: {difference}", file=sys.stderr)
            for part in parts:
                print(f"  another fingerprint: {part}", file=sys.stderr)
            return DIFFERENT
    _show(config, found, parts, time.monotonic() - began)
    if found.unanswered:
        print(
            f"DIFFERENCE: approvals that nothing became of: {found.unanswered[:3]}", file=sys.stderr
        )
        return DIFFERENT
    return OTHER_FINGERPRINT if parts else SAME


def _show(config: SessionConfig, found: Findings, parts: list[str], seconds: float) -> None:
    console, account = Console(), found.account
    how = "to the bit" if not parts else "exactly, floats to 1e-9"
    console.print(f"session {config.session_id}: replayed, equal {how} ({seconds:.1f} s)")
    console.print(
        f"  {found.rounds:,} rounds, {found.votes:,} votes, {found.decisions:,} decisions and"
        " verdicts, weights and windows"
    )
    console.print(
        f"  {account.moments:,} moments of the account, {account.orders:,} orders,"
        f" {account.fills:,} fills, {account.refused:,} refusals"
    )
    given = {
        "aborted rounds": found.aborted,
        "late votes": found.absent["late"],
        "failed votes": found.absent["failed"],
        "votes of other code": sum(found.other_steps.values()),
        "rounds without a lease": found.unleased,
        "expired approvals": account.expired,
        "approvals without an order": found.without_order,
        "cancelled orders": account.cancelled,
        "unlocked symbols": account.unlocked,
        "moments without a round": account.unlogged_moments,
    }
    shown = [f"{count:,} {name}" for name, count in given.items() if count]
    epochs = ", ".join(str(epoch) for epoch in found.epochs)
    console.print(f"  taken as recorded: epochs {epochs}{''.join('; ' + s for s in shown)}")
    if found.states:
        console.print(f"  trading states: {', '.join(found.states)}")
    for part in parts:
        console.print(f"  ANOTHER FINGERPRINT: {part}", markup=False)
