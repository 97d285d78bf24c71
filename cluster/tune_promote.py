"""``sapphire tune promote|rollback|history``: which model the live committee uses, and why."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from rich.console import Console

from cluster import tune_view
from cluster.database import database
from cluster.home import Home
from cluster.settings import load_cluster
from cluster.tune import feed_of, opened
from cluster.tune_store import folder
from data.errors import InputError
from data.sessions import latest_session, load_model, load_session
from data.store import connect
from tuning import champions
from tuning.champion_stack import Scope
from tuning.study.api import check_code
from tuning.study.build import build
from tuning.study.contract import Floats, StudySpec, Trial
from tuning.study.database import Database, Postgres
from tuning.study.outcome import tried_elsewhere, view_of
from tuning.study.promotion import (
    LOCKED,
    Incumbent,
    Verdict,
    decide,
    locked_record,
    locked_view,
    promotable,
    scope_of,
    segment_words,
)
from tuning.study.rules import PromotionRules
from tuning.study.segments import carry_over
from tuning.study.spec import study_code
from tuning.study.store import EVIDENCE, StudyStore

PROMOTED, REFUSED = 0, 1


def promote(name: str, storage: str, session: str, *, as_json: bool) -> int:
    """Judges a study's winner and, if every rule passes, puts it in force; 1 when one does not."""
    human = Console(stderr=True) if as_json else Console()
    with opened(storage) as (settings, home, kept):
        store, spec = kept.spec(name)
        check_code(spec, study_code())
        promotable(spec)
        trials = store.trials(name)
        with database(settings, home, "ops") as url, connect(url, name="sapphire-promote") as link:
            session_id = _session(link, session)
            verdict, text = _judged(
                store, spec, home, url, link, trials, session_id, lambda t: human.print(f"{t} …")
            )
    human.print(tune_view.reasons(verdict.reasons), highlight=False)
    human.print(text, highlight=False)
    if as_json:
        found = {
            "study": name,
            "promoted": verdict.passed,
            "reasons": [vars(reason) for reason in verdict.reasons],
        }
        sys.stdout.write(json.dumps(found, default=str) + "\n")
    return PROMOTED if verdict.passed else REFUSED


def _judged(
    store: StudyStore,
    spec: StudySpec,
    home: Home,
    url: str,
    link: psycopg.Connection,
    trials: list[Trial],
    session_id: str,
    say: Callable[[str], None],
) -> tuple[Verdict, str]:
    verdict = verdict_on(store, spec, home, url, link, trials, session_id, say)
    if verdict.locked.result is not None:
        say(f"report: {_report(store, spec, home)}")
    scope = scope_of(spec, feed_of(spec, home), session_id)
    if verdict.candidate is None:
        text = f"not promoted; the locked segment ({segment_words(verdict.locked.segment)}) stays"
        return verdict, f"{text} unopened for this study"
    if not verdict.passed:
        return verdict, f"not promoted; {verdict.locked.openings} openings of its segment so far"
    made = champions.promote(
        link, verdict.candidate, verdict.reasons, getpass.getuser(), session_id
    )
    store.note(spec.name, EVIDENCE, {"champion": made.champion, "model": made.model})
    return verdict, f"{made}; in force from the next round on: {scope}"


def verdict_on(
    store: StudyStore,
    spec: StudySpec,
    home: Home,
    url: str,
    link: psycopg.Connection,
    trials: list[Trial],
    session_id: str,
    say: Callable[[str], None],
) -> Verdict:
    """What the rules say of a study's winner against what is in force; promotes nothing.

    ``url`` and ``link`` are of the operations role.
    """
    feed = feed_of(spec, home)
    standing = champions.in_force(link, promotable(spec), scope_of(spec, feed, session_id))
    row = load_model(link, standing.model) if standing.model else None
    if row is None and session_id:
        row = _session_row(link, session_id, promotable(spec))
    ledger: Database = Postgres(url)
    try:
        now = time.time_ns()
        carry_over(store.database, ledger, now)
        verdict = decide(
            spec,
            feed,
            trials,
            ledger,
            Incumbent(standing.model, row),
            PromotionRules(),
            now,
            say,
            session_id,
            tried_elsewhere(store, spec),
        )
        if verdict.locked.result is not None:
            store.note(spec.name, EVIDENCE, {LOCKED: locked_record(verdict.locked)})
        return verdict
    finally:
        # Reports read the ledger of their own store.
        carry_over(ledger, store.database, time.time_ns())
        ledger.close()


def _session_row(link: psycopg.Connection, session_id: str, agent: str) -> Floats | None:
    """The model that the session itself began with; None where it has none."""
    name = load_session(link, session_id).models.get(agent, "")
    row = load_model(link, name) if name else None
    return row if row is not None and len(row) else None


def _report(store: StudyStore, spec: StudySpec, home: Home) -> Path:
    """Writes the study's report anew, with what its locked segment showed."""
    from tuning.study.report import write_study_report

    feed = feed_of(spec, home)
    locked = locked_view(spec, feed, store.database)
    path = folder(home.create()) / spec.name / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_study_report(view_of(store, spec, build(spec, feed), locked=locked), path)
    return path


def rollback(agent: str, reason: str, session: str, group: str | None) -> int:
    """Back to the model before the one in force."""
    if not reason.strip():
        raise InputError("--reason is empty: say why")
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "ops") as url, connect(url, name="sapphire-rollback") as link:
        scope = _scope(link, agent, session, group)
        change = champions.rollback(link, agent, scope, reason, getpass.getuser())
    what = f"model {change.model[:12]}" if change.model else "the session's own model"
    Console().print(f"{agent}: {what} is in force again for {scope}: {reason}", highlight=False)
    return 0


def history(agent: str | None, *, as_json: bool) -> int:
    """Every change of models on record."""
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "read") as url, connect(url, name="sapphire-history") as link:
        rows = champions.history(link, agent)
    if as_json:
        found = [
            {
                "at": row.at.isoformat(),
                "agent": row.recorded.change.agent,
                "cause": row.recorded.change.cause,
                "model": row.recorded.change.model,
                "champion": row.recorded.change.champion,
                "study": row.champion.study if row.champion else None,
                "by": row.recorded.change.by,
                "reason": row.recorded.change.reason,
            }
            for row in rows
        ]
        sys.stdout.write(json.dumps({"changes": found}) + "\n")
    else:
        Console().print(tune_view.history(rows), highlight=False)
    return 0


def _session(link: psycopg.Connection, asked: str) -> str:
    """The id of a session ('last' the newest); empty: every session that is not historical."""
    if not asked:
        return ""
    found = latest_session(link) if asked == "last" else asked
    if found is None:
        raise InputError("there is no session yet: leave --session out")
    return found


def _scope(
    link: psycopg.Connection,
    agent: str,
    session: str,
    group: str | None,
) -> Scope:
    """The scope of what is taken back: a session's, or the one whose changes are on record."""
    session_id = _session(link, session)
    if session_id:
        config = load_session(link, session_id)
        return Scope(config.group, config.horizon, config.bars_per_year, session_id)
    scopes = {
        Scope(entry.recorded.change.group, entry.recorded.change.horizon,
              entry.recorded.change.bars_per_year)
        for entry in champions.history(link, agent)
        if not entry.recorded.session_id
    }  # fmt: skip
    chosen = [scope for scope in scopes if group is None or scope.group == group]
    if not chosen:
        raise InputError(f"{agent}: no model was ever put in force for live sessions")
    if len(chosen) > 1:
        groups = ", ".join(sorted(scope.group for scope in chosen))
        raise InputError(f"{agent} has models in several groups: choose --group of {groups}")
    return chosen[0]
