"""The ledger of locked segments: who was shown which final stretch of data, and how often.

A locked segment judges finalists. Each look at it is one more chance to be lucky, so every opening
is on record before anything of the segment is evaluated (log first, then apply), and counts against
every later one that shares a symbol with it and begins before it ends, in all studies and retunes,
whatever its bars were: only bars later than all that was shown are fresh, and data that were
repaired or adjusted since are the same past. The candidates shown before
raise the number of trials of the deflated Sharpe ratio; a candidate that is shown again counts
again, because the look is another one. Beyond a configured number of openings the segment is spent
and only later bars can promote.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from data.errors import InputError
from data.records import content_hash
from tuning.study.contract import Segment
from tuning.study.database import Database

_ROWS = (
    "SELECT opening_id, study, symbols, from_ts, until_ts, content, candidates, opened_ns"
    " FROM segment_opening ORDER BY opened_ns, opening_id"
)
_INSERT = (
    "INSERT INTO segment_opening (opening_id, study, symbols, from_ts, until_ts, content,"
    " candidates, opened_ns) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)


class SegmentSpent(InputError):
    """The segment was opened as often as it may be."""


@dataclass(frozen=True)
class Opening:
    """One look at a segment, and what stood against the segment when it came on record."""

    opening_id: str
    study: str
    segment: Segment
    candidates: tuple[str, ...]  # hashes, sorted
    opened_ns: int  # rises from opening to opening in one ledger
    openings_before: int
    candidates_before: int

    @property
    def openings(self) -> int:
        """Openings of the segment with this one, what ``rules.LockedResult`` wants."""
        return self.openings_before + 1


def open_segment(
    database: Database,
    segment: Segment,
    study: str,
    candidates: Sequence[str],
    limit: int,
    now_ns: int,
) -> Opening:
    """The right to look at ``segment`` with these candidates, on record when this returns.

    The same study with the same candidates gets the same opening again, uncounted. ``study`` names
    one study for ever (its name, or a hash of its spec); ``candidates`` are hashes of what is
    shown. SegmentSpent when ``limit`` openings count against it already; InputError for arguments
    that are no opening.
    """
    wanted = _wanted(segment, study, candidates)
    if limit < 1:
        raise InputError(f"openings of a segment: {limit} allows none, give 1 or more")
    with database.transaction():
        rows = _rows(database)
        known = _counted(wanted.opening_id, rows)
        if known is not None:
            return known
        against = _against(wanted.segment, rows)
        if len(against) >= limit:
            raise SegmentSpent(_spent(segment, against, limit))
        _write(database, wanted, max(now_ns, _latest(rows) + 1))
        made = _counted(wanted.opening_id, _rows(database))
    if made is None:
        raise LookupError("the opening is not in the ledger that it was written to")
    return made


def shown(database: Database, segment: Segment) -> tuple[int, int]:
    """(openings, candidates) that count against the segment by now."""
    against = _against(segment, _rows(database))
    return len(against), sum(len(opening.candidates) for opening in against)


def openings(database: Database, study: str | None = None) -> list[Opening]:
    """The ledger, the oldest opening first; of one study alone when it is named."""
    rows = _rows(database)
    found = [_counted(row.opening_id, rows) for row in rows if study in (None, row.study)]
    return [opening for opening in found if opening is not None]


def carry_over(source: Database, target: Database, now_ns: int) -> list[Opening]:
    """Writes the openings of ``source`` (a laptop's file) into ``target``, each once.

    Returns all of them as they stand in the target: what was opened there before counts against
    them, so a candidate must be judged by these numbers. They are not refused when the segment is
    spent: they have happened. ``within_limit`` says whether one may promote.
    """
    carried = _rows(source)
    with target.transaction():
        rows = _rows(target)
        there = {row.opening_id for row in rows}
        latest = _latest(rows)
        for opening in carried:
            if opening.opening_id not in there:
                latest = max(now_ns, latest + 1)
                _write(target, opening, latest)
        rows = _rows(target)
    found = [_counted(opening.opening_id, rows) for opening in carried]
    return [opening for opening in found if opening is not None]


def within_limit(opening: Opening, limit: int) -> None:
    """SegmentSpent when more openings count against it than leave room for it."""
    if opening.openings > limit:
        raise SegmentSpent(
            f"the locked segment {_interval(opening.segment)} was opened"
            f" {opening.openings_before} times before study {opening.study} did, {limit} are"
            f" allowed: only bars after {_day(opening.segment.until)} can promote"
        )


def _wanted(segment: Segment, study: str, candidates: Sequence[str]) -> Opening:
    """The opening that is asked for, in one form; InputError when it is none."""
    symbols, hashes = tuple(sorted(set(segment.symbols))), tuple(sorted(set(candidates)))
    if not study:
        raise InputError("an opening of a locked segment needs the name of its study")
    if not hashes:
        raise InputError(f"study {study}: no candidate to show the locked segment to")
    if not symbols or not segment.content or segment.since >= segment.until:
        raise InputError(f"study {study}: the locked segment has no symbol, no bars or no length")
    one = Segment(symbols, segment.since, segment.until, segment.content)
    bounds = f"{one.since}/{one.until}"
    parts = (study, json.dumps(symbols), bounds, one.content, json.dumps(hashes))
    name = content_hash(*(part.encode() for part in parts))
    return Opening(name, study, one, hashes, 0, 0, 0)


def _write(database: Database, opening: Opening, opened_ns: int) -> None:
    segment = opening.segment
    database.execute(
        _INSERT,
        (
            opening.opening_id,
            opening.study,
            json.dumps(segment.symbols),
            segment.since,
            segment.until,
            segment.content,
            json.dumps(opening.candidates),
            opened_ns,
        ),
    )


def _rows(database: Database) -> list[Opening]:
    """The ledger in its order, without the counts."""
    return [
        Opening(
            str(name),
            str(study),
            Segment(tuple(json.loads(symbols)), int(since), int(until), str(content)),
            tuple(json.loads(candidates)),
            int(opened_ns),
            0,
            0,
        )
        for name, study, symbols, since, until, content, candidates, opened_ns in database.execute(
            _ROWS
        )
    ]


def _counted(name: str, rows: Sequence[Opening]) -> Opening | None:
    """The opening called ``name`` with what came before it; None when it is not there."""
    for place, opening in enumerate(rows):
        if opening.opening_id == name:
            against = _against(opening.segment, rows[:place])
            return Opening(
                name,
                opening.study,
                opening.segment,
                opening.candidates,
                opening.opened_ns,
                len(against),
                sum(len(one.candidates) for one in against),
            )
    return None


def _against(segment: Segment, rows: Sequence[Opening]) -> list[Opening]:
    symbols = set(segment.symbols)
    return [
        opening
        for opening in rows
        # Also one that lies wholly later: whoever saw it had these bars among what was searched.
        if symbols.intersection(opening.segment.symbols) and segment.since < opening.segment.until
    ]


def _latest(rows: Sequence[Opening]) -> int:
    return rows[-1].opened_ns if rows else 0


def _spent(segment: Segment, against: Sequence[Opening], limit: int) -> str:
    studies = ", ".join(sorted({opening.study for opening in against}))
    last = max(opening.segment.until for opening in against)
    return (
        f"the locked segment {_interval(segment)} is spent: {len(against)} openings are on record"
        f" (studies {studies}), {limit} are allowed: only bars after {_day(last)} can promote"
    )


def _interval(segment: Segment) -> str:
    symbols = ", ".join(sorted(segment.symbols)[:5])
    more = f" and {len(segment.symbols) - 5} more" if len(segment.symbols) > 5 else ""
    return f"{_day(segment.since)} to {_day(segment.until)} of {symbols}{more}"


def _day(ts: int) -> str:
    """The moment in UTC; only the date where it is a midnight."""
    moment = datetime.fromtimestamp(ts / 1e9, UTC)
    return f"{moment:%Y-%m-%d}" if ts % 86_400_000_000_000 == 0 else f"{moment:%Y-%m-%d %H:%M}"
