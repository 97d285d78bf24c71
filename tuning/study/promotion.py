"""From a study's winner to a champion: judged, shown the locked segment, and judged again.

The rules that need no locked data come first: a winner that fails one of them never opens the
segment. Then the opening goes on record, winner and incumbent run over the segment, and what came
out decides with everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from actors.limits import load_limits
from data.errors import InputError
from data.feed import Feed, names_a_file
from data.records import content_hash
from tuning.champion_register import Candidate, Provenance
from tuning.champion_stack import Scope
from tuning.study.build import AnyEvaluator, build, build_locked, evaluation_of, open_dataset
from tuning.study.committee_evaluator import CommitteeEvaluator
from tuning.study.contract import Failure, Floats, Segment, StudySpec, Trial
from tuning.study.database import Database
from tuning.study.objectives import joined
from tuning.study.outcome import Judged, figures, judge_study
from tuning.study.rules import (
    PASSED,
    UNKNOWN,
    PromotionRules,
    Reason,
    judge,
    locked_result,
    promotes,
)
from tuning.study.searchers import make_searcher
from tuning.study.segments import Opening, open_segment, shown
from tuning.study.store import EVIDENCE, StudyStore
from tuning.study.targets import TARGETS, target_of
from tuning.study.view import LockedView

LOCKED = "locked"  # of an EVIDENCE event
_STREAM = 7302  # of the study's seed: the bootstrap on the locked segment


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the rules say of a winner. ``candidate`` is there once the segment was opened."""

    judged: Judged
    reasons: list[Reason]
    candidate: Candidate | None
    locked: LockedView

    @property
    def passed(self) -> bool:
        """Whether every rule is."""
        return promotes(self.reasons)


@dataclass(frozen=True)
class Incumbent:
    """The model in force; ``model`` "" and no row is the session's own."""

    model: str = ""
    row: Floats | None = None


def promotable(spec: StudySpec) -> str:
    """The agent whose model a winner would become; InputError for a study that searches none."""
    target = target_of(spec.target)
    if target.agent is None or not target.promotes:
        agents = ", ".join(name for name, each in TARGETS.items() if each.promotes)
        raise InputError(
            f"study {spec.name} searches {spec.target}, which belongs to a session and is no"
            f" agent's model: studies of {agents} can be promoted"
        )
    return target.agent


def check_terms(spec: StudySpec, session_id: str) -> None:
    """InputError for a study whose terms are not those under which its winner would trade."""
    asked = evaluation_of(spec)
    if asked.symbols:
        raise InputError(
            f"study {spec.name} searched only {', '.join(asked.symbols)}: a champion votes on all"
            " symbols of its data; search them all to promote"
        )
    if asked.costs or asked.latency_bars != 1 or asked.latency_ns:
        raise InputError(
            f"study {spec.name} has costs or a latency of its own: only the house's can promote"
        )
    if asked.limits and asked.limits != load_limits().model_dump(mode="json"):
        raise InputError(
            f"study {spec.name} was judged by other limits than those in force: search anew"
        )
    if asked.data is not None and not session_id and names_a_file(asked.data):
        raise InputError(
            f"study {spec.name} searched a file, which does not say what sessions it is for: import"
            " it ('sapphire data import', with --group) or promote for one session (--session)"
        )


def scope_of(spec: StudySpec, feed: Feed, session_id: str = "") -> Scope:
    """The sessions that a winner is for."""
    return Scope(feed.group, evaluation_of(spec).horizon, round(feed.bars_per_year), session_id)


def locked_view(spec: StudySpec, feed: Feed, ledger: Database) -> LockedView:
    """The study's locked segment as the ledger knows it, unopened by this call."""
    segment = open_dataset(spec, feed).segment
    count, candidates = shown(ledger, segment)
    for event in reversed(StudyStore(ledger).events(spec.name, EVIDENCE)):
        if LOCKED in event.detail:
            return _read_locked(spec, feed, segment, event.detail[LOCKED], max(count, 1))
    return LockedView(segment=segment, openings=count, shown=candidates)


def locked_record(locked: LockedView) -> dict[str, Any]:
    """What is kept in the study's store of a look at its segment, for its later reports."""
    return {
        "openings": locked.openings,
        "shown": locked.shown,
        "ts": locked.ts.tolist(),
        "winner": locked.winner.tolist(),
        "incumbent": locked.incumbent.tolist(),
    }


def _read_locked(
    spec: StudySpec, feed: Feed, segment: Segment, kept: Mapping[str, Any], openings: int
) -> LockedView:
    winner, incumbent = (np.array(kept[name], np.float64) for name in ("winner", "incumbent"))
    rng = np.random.default_rng([spec.seed, _STREAM])
    count = int(kept["openings"])
    return LockedView(
        segment=segment,
        openings=max(openings, count),
        shown=int(kept["shown"]),
        result=locked_result(winner, incumbent, feed.bars_per_year, count, rng),
        ts=np.array(kept["ts"], np.int64),
        winner=winner,
        incumbent=incumbent,
    )


def decide(
    spec: StudySpec,
    feed: Feed,
    trials: Sequence[Trial],
    ledger: Database,
    incumbent: Incumbent,
    rules: PromotionRules,
    now_ns: int,
    say: Callable[[str], None] = lambda _: None,
    session_id: str = "",
    elsewhere: int = 0,
) -> Verdict:
    """Judges the study's winner by every rule; opens the locked segment only when it may matter.

    ``elsewhere``: trials of other studies that count as tried (``outcome.tried_elsewhere``).
    InputError for a study that cannot promote or has no winner, SegmentSpent when the segment has
    been opened too often.
    """
    agent = promotable(spec)
    check_terms(spec, session_id)
    evaluator = build(spec, feed)
    if len(trials) < make_searcher(spec, evaluator.space).total(spec.trials):
        raise InputError(
            f"study {spec.name} has {len(trials)} of {spec.trials} trials: 'sapphire tune resume"
            f" {spec.name}' ends it first"
        )
    say("judging the trials")
    before = locked_view(spec, feed, ledger)
    judged = judge_study(spec, evaluator, trials, before.shown, elsewhere)
    if judged.winner is None or judged.evidence is None:
        raise InputError(f"study {spec.name} has nothing to promote: {judged.why_none}")
    first = judge(judged.evidence, rules, None)
    if any(reason.outcome != PASSED for reason in first if not _needs_opening(reason)):
        return Verdict(judged, first, None, before)
    say("opening the locked segment")
    opening = open_segment(
        ledger,
        before.segment,
        _study_id(spec),
        [_candidate_hash(spec, judged.winner)],
        rules.most_openings,
        now_ns,
    )
    judged = judge_study(spec, evaluator, trials, opening.candidates_before, elsewhere)
    if judged.winner is None or judged.evidence is None:
        raise InputError(f"study {spec.name} has nothing to promote: {judged.why_none}")
    locked = _show(spec, feed, judged.winner, incumbent, opening, evaluator.periods_per_year)
    reasons = judge(judged.evidence, rules, locked.result)
    candidate = _candidate(spec, feed, agent, judged, incumbent, evaluator, session_id)
    return Verdict(judged, reasons, candidate, locked)


def _needs_opening(reason: Reason) -> bool:
    """Whether the rule asks for the locked segment: those are unknown before it is opened."""
    return reason.outcome == UNKNOWN and reason.rule != "plateau"


def _show(
    spec: StudySpec,
    feed: Feed,
    winner: Trial,
    incumbent: Incumbent,
    opening: Opening,
    periods: float,
) -> LockedView:
    evaluator = build_locked(spec, feed)
    answer = evaluator.evaluate([winner.config], [0])[0]
    if isinstance(answer, Failure):
        raise InputError(f"the winner fails on the locked segment: {answer.why}")
    held = (
        evaluator.incumbent(incumbent.row)
        if isinstance(evaluator, CommitteeEvaluator)
        else evaluator.incumbent()
    )
    ours, theirs = joined(answer), joined(held)
    rng = np.random.default_rng([spec.seed, _STREAM])
    return LockedView(
        segment=opening.segment,
        openings=opening.openings,
        shown=opening.candidates_before + len(opening.candidates),
        result=locked_result(ours, theirs, periods, opening.openings, rng),
        ts=evaluator.test_ts,
        winner=ours,
        incumbent=theirs,
    )


def _candidate(
    spec: StudySpec,
    feed: Feed,
    agent: str,
    judged: Judged,
    incumbent: Incumbent,
    evaluator: AnyEvaluator,
    session_id: str,
) -> Candidate:
    if judged.winner is None or not isinstance(evaluator, CommitteeEvaluator):
        raise TypeError("only an agent's winner has a model")
    dataset = open_dataset(spec, feed)
    return Candidate(
        agent=agent,
        params=evaluator.model(judged.winner.config, dataset.bars),
        scope=scope_of(spec, feed, session_id),
        # The model is fitted on the bars before the segment, but was chosen by those in it.
        trained_until=dataset.segment.until,
        study=spec.name,
        trial=judged.winner.number,
        config=judged.winner.config,
        provenance=Provenance(
            data_hash=dataset.data_hash,
            code=spec.code,
            seed=spec.seed,
            spec=msgspec.to_builtins(spec),
        ),
        evidence=figures(judged),
        incumbent=incumbent.model,
    )


def _study_id(spec: StudySpec) -> str:
    """One study for ever: its name may be another study's in another store."""
    return f"{spec.name}@{content_hash(msgspec.json.encode(spec))[:12]}"


def _candidate_hash(spec: StudySpec, winner: Trial) -> str:
    return content_hash(
        spec.target.encode(), msgspec.json.encode(winner.config, order="deterministic")
    )


def segment_words(segment: Segment) -> str:
    """The segment's dates."""
    days = [
        np.datetime64(ts, "ns").astype("datetime64[D]") for ts in (segment.since, segment.until)
    ]
    return f"{days[0]} to {days[1]}"


def reason_rows(reasons: Sequence[Reason]) -> list[Mapping[str, Any]]:
    """The reasons as plain rows."""
    return [asdict(reason) for reason in reasons]
