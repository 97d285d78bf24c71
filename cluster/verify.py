"""``sapphire verify``: recompute a session from its journal, and say what was found."""

from __future__ import annotations

import sys

import psycopg
from rich.console import Console

from cloud_trader.verification import Findings, verify_session
from cloud_trader.violation import Violation
from cluster.database import database
from cluster.home import Home
from cluster.settings import load_cluster
from data.errors import InputError
from data.records import SessionConfig
from data.sessions import UnknownSession, latest_session, load_session
from data.store import connect


def verify(session: str) -> int:
    """Exit code 0 when everything holds, 1 with the first violation."""
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "read") as url, connect(url, name="sapphire-verify") as link:
        config = chosen_session(link, session)
        try:
            findings = verify_session(link, config)
        except Violation as violation:
            print(f"VIOLATION in session {config.session_id}: {violation}", file=sys.stderr)
            return 1
    _show(config, findings)
    return 0


def chosen_session(connection: psycopg.Connection, name: str) -> SessionConfig:
    """The session of this id, the latest for 'last'; InputError when there is none."""
    chosen = latest_session(connection) if name == "last" else name
    if chosen is None:
        raise InputError("no session is recorded here yet: start with 'sapphire run'")
    try:
        return load_session(connection, chosen)
    except UnknownSession:
        raise InputError(f"session {chosen!r} is not recorded here: check the id") from None


def _show(config: SessionConfig, findings: Findings) -> None:
    console = Console()
    console.print(f"session {config.session_id}: verified")
    for chain, count in findings.records.items():
        console.print(f"  chain {chain}: {count:,} records, every hash follows")
    console.print(f"  {findings.rounds:,} rounds, inputs and outputs in turn")
    console.print(
        f"  {findings.orders:,} orders, each with its decision, quorum and approval of the epoch"
        " in force"
    )
    console.print(f"  {findings.fills:,} fills; cash + positions at marks = equity, exactly")
    void = [line for line in findings.refused if "EPOCH_VOID" in line]
    console.print(f"  {len(findings.refused):,} approvals refused, {len(void)} for a voided epoch")
    for line in void:
        console.print(f"    {line}")
    for line in findings.refused_changes:
        console.print(f"  a change of a model was refused: {line}")
