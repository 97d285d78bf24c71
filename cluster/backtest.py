"""``sapphire backtest``: the committee over recorded bars, in one process, with the run's report.

Data, warm-up, models, limits and costs are those that ``sapphire run`` would use for the same
options, so that both give the same decisions, orders and fills.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from actors.registry import AGENTS
from actors.sizing import SizingParams
from cluster.fingerprint import ROOT, code_hash
from cluster.home import Home
from cluster.model_cache import fitted_plan
from cluster.plan import (
    COSTS,
    HORIZON,
    OPENING_CASH,
    WARM_UP_DATES,
    Plan,
    plan_session,
)
from cluster.settings import load_cluster
from data.errors import InputError
from data.jit_cache import FLOORS
from data.money import to_micro
from tuning.backtesting import BacktestParams, backtest
from tuning.study.dataset import bar_length

if TYPE_CHECKING:
    from tuning.backtest_result import Result

NS_PER_MS = 1_000_000
FITS_AT_A_TIME = 2
# A report reads every vote of every decision; above this its arrays would not fit a small machine.
MOST_REPORTED = 3_000_000


@dataclass(frozen=True)
class BacktestOptions:
    """What a person asked for on the command line."""

    data: str | None = None
    first: str | None = None
    last: str | None = None
    symbols: tuple[str, ...] = ()
    warm_up: int = WARM_UP_DATES
    latency: str = "1"
    without: tuple[str, ...] = ()
    seed: int = 0
    retrain_months: int | None = None  # 0 never; None goes by the data's clock
    report: bool = True
    as_json: bool = False


@dataclass
class Timings:
    """Seconds of each part."""

    load: float = 0.0
    fit: float = 0.0
    run: float = 0.0


def run_backtest(options: BacktestOptions) -> int:
    """Runs it; returns the exit code. InputError for what a person can mend."""
    settings = load_cluster()
    home, timings = Home(settings.home), Timings()
    bars_waited, waited_ns = parse_latency(options.latency)
    began = time.monotonic()
    plan = plan_session(
        options.first,
        options.last,
        options.symbols,
        options.data,
        options.seed,
        home.path / "lake",
        options.warm_up,
        options.retrain_months,
    )
    bars = plan.feed.bars
    if options.report and len(bars) > MOST_REPORTED:
        raise InputError(
            f"{len(bars):,} bars are more than a report takes ({MOST_REPORTED:,}): narrow"
            " --from/--to, or give --no-report"
        )
    timings.load = time.monotonic() - began
    models = fitted_plan(home, plan, FITS_AT_A_TIME)
    timings.fit = time.monotonic() - began - timings.load
    params = BacktestParams(
        symbols=plan.feed.symbols,
        models=models.sets(plan.models_from),
        first_traded=plan.first_traded,
        sizing=SizingParams(
            horizon=HORIZON,
            bars_per_year=plan.feed.bars_per_year,
            risk_multiplier=plan.limits.risk_multiplier,
        ),
        opening_micro=to_micro(OPENING_CASH),
        micro_per_tick=plan.feed.micro_per_tick,
        latency_bars=bars_waited,
        latency_ns=waited_ns,
        bar_ns=bar_length(plan.feed),
        without=options.without,
        locks=plan.feed.quarantined_at,
        keep=("orders", "weights", "decisions", "votes") if options.report else (),
        keep_equity=options.report,
    )
    started = time.monotonic()
    result = backtest(bars, params, plan.limits, COSTS)
    timings.run = time.monotonic() - started
    _show(options, plan, result, home, timings, time.monotonic() - began)
    return 0


def parse_latency(text: str) -> tuple[int, int]:
    """(bars, ns) of ``2`` bars or ``250ms``; InputError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9})(ms)?", text.strip())
    value = int(found.group(1)) if found else 0
    if found and found.group(2):
        return 1, value * NS_PER_MS
    if found and 1 <= value <= 1_000:
        return value, 0
    raise InputError(f"--latency {text!r}: give 1 to 1000 bars, as 2, or milliseconds, as 250ms")


def parse_without(text: str | None) -> tuple[str, ...]:
    """Agents by name; InputError for one that does not exist."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    known = [spec.name for spec in AGENTS]
    for name in names:
        if name not in known:
            raise InputError(f"--without {name}: the agents are {', '.join(known)}")
    if len(names) == len(known):
        raise InputError("--without leaves no agent to vote")
    return names


def _name(options: BacktestOptions, plan: Plan) -> str:
    """The same data, options, limits and code give the same name."""
    feed = plan.feed
    parts = (
        options.seed,
        options.warm_up,
        options.latency,
        sorted(options.without),
        COSTS,
        feed.content_hash,
        feed.symbols,
        plan.first_traded,
        plan.limits.model_dump_json(),
        hashlib.sha256(plan.history.tobytes()).hexdigest(),
        plan.models_from,
        plan.retrained_at,
        code_hash(ROOT, FLOORS[:-1]),
    )
    return "b" + hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _show(
    options: BacktestOptions,
    plan: Plan,
    result: Result,
    home: Home,
    timings: Timings,
    seconds: float,
) -> None:
    human = Console(stderr=True) if options.as_json else Console()
    bars = len(plan.feed.bars)
    speed = bars / timings.run if timings.run > 0 else float("nan")
    line = (
        f"{bars:,} bars of {len(plan.feed.symbols)} symbols ({plan.feed.clock}) in "
        f"{timings.run:.2f} s on one core: {speed:,.0f} bars/s; before that data"
        f" {timings.load:.2f} s, models {timings.fit:.2f} s"
    )
    name = _name(options, plan)
    if options.report:
        answer = _report(plan, result, name, home, seconds, human, line)
    else:
        answer = {"session_id": name, "bars": bars, **result.counts}
        answer["final_equity"] = f"{result.final_equity_micro / 1e6:.6f}"
        human.print(f"final equity {result.final_equity_micro / 1e6:,.2f} {plan.feed.currency}")
        human.print(", ".join(f"{count:,} {what}" for what, count in result.counts.items()))
    human.print(line, highlight=False)
    if options.as_json:
        answer |= {"loop_seconds": timings.run, "loop_bars_per_second": speed}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _report(
    plan: Plan, result: Result, name: str, home: Home, seconds: float, human: Console, line: str
) -> dict[str, object]:
    from cluster.summary import summary_table
    from tuning.analysis import analyse
    from tuning.backtest_report import session_result
    from tuning.report import report_json, write_report
    from tuning.session_result import QuarantinedRow

    feed = plan.feed
    session = session_result(
        result,
        feed.bars,
        COSTS,
        name=name,
        tick=feed.tick,
        lot=feed.lot,
        currency=feed.currency,
        bars_per_year=feed.bars_per_year,
        quarantined=[QuarantinedRow(q.when, q.symbol, q.flaw.value) for q in feed.quarantined],
        wall_seconds=seconds,
        notes=(f"A backtest of {feed.name}: {line}.",),
    )
    path: Path = home.create().path / "reports" / f"{name}.html"
    analysis = analyse(session)
    write_report(session, path, analysis)
    report = report_json(session, path, analysis)
    human.print(summary_table(report, session, analysis))
    return dict(report)
