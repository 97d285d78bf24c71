"""``sapphire parity``: a backtest over a session's bars against what the session recorded."""

from __future__ import annotations

import sys
import time

from psycopg import IsolationLevel
from rich.console import Console

from cloud_trader.difference import Difference
from cluster.database import database
from cluster.fingerprint import differing, fingerprint
from cluster.home import Home
from cluster.settings import load_cluster
from cluster.verify import chosen_session
from data.errors import InputError
from data.store import connect
from tuning.parity import NotComparable, check_parity


def parity(session: str) -> int:
    """0 when every vote, weight, verdict, order, fill and equity is the same, else 1."""
    began = time.monotonic()
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "read") as url, connect(url, name="sapphire-parity") as link:
        config = chosen_session(link, session)
        link.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with link.transaction():
                counts = check_parity(link, config)
        except NotComparable as error:
            raise InputError(str(error)) from error
        except Difference as difference:
            print(f"DIFFERENCE in session {config.session_id}: {difference}", file=sys.stderr)
            for part in differing(config.fingerprint, fingerprint()):
                print(f"  another fingerprint: {part}", file=sys.stderr)
            print(
                "  late votes, restarts of the gate and operators' halts are no function of the"
                " bars: 'sapphire replay' takes them as recorded",
                file=sys.stderr,
            )
            return 1
    console = Console()
    console.print(
        f"session {config.session_id}: its backtest is the same to the bit"
        f" ({time.monotonic() - began:.1f} s)"
    )
    console.print(
        f"  {counts.rounds:,} rounds, {counts.decisions:,} decisions with votes, evidence, pool,"
        " weights and verdicts"
    )
    console.print(
        f"  {counts.orders:,} orders, {counts.fills:,} fills, equity of {counts.moments:,} moments"
    )
    return 0
