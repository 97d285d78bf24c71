"""``sapphire run``: one paper-trading session of the whole cluster on recorded data."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console

from cluster.bring_up import LocalCluster, open_home
from cluster.home import Home
from cluster.live_source import LiveSource
from cluster.live_view import LiveView
from cluster.model_cache import fitted_plan
from cluster.plan import Plan, plan_session, record_session
from cluster.processes import ServiceError, last_lines
from cluster.settings import ClusterSettings, TradingMode, load, load_cluster, require_paper
from cluster.stopping import stoppable
from cluster.summary import summary_table
from cluster.trader_process import TraderRequest
from data.records import SessionConfig
from data.store import connect
from tuning.analysis import analyse
from tuning.journal_reader import read_session
from tuning.report import report_json, write_report
from tuning.session_result import SessionResult

LOOK_S = 0.25
MEMORY_EVERY_S = 20.0


@dataclass(frozen=True)
class RunOptions:
    """What a person asked for on the command line."""

    first: str | None = None
    last: str | None = None
    symbols: tuple[str, ...] = ()
    dates_per_second: float = 0.0
    seed: int = 0
    as_json: bool = False
    data: str | None = None
    retrain_months: int | None = None  # 0 never; None goes by the data's clock


def run(options: RunOptions) -> int:
    """Runs the session; returns the exit code. InputError for what a person can mend."""
    began = time.monotonic()
    settings = load_cluster()
    require_paper(load(TradingMode))
    lake = Home(settings.home).path / "lake"
    plan = plan_session(
        options.first,
        options.last,
        options.symbols,
        options.data,
        options.seed,
        lake,
        retrain_months=options.retrain_months,
    )
    home = open_home(settings)
    human = Console(stderr=True) if options.as_json else Console()
    with home.lock(), stoppable():
        source = LiveSource(settings, plan, began)
        with (
            LiveView(time.monotonic, machine=options.as_json) as view,
            running_cluster(settings, home, source, view) as cluster,
        ):
            config, result = _session(cluster, plan, options, source, view, began)
        path = home.path / "reports" / f"{config.session_id}.html"
        analysis = analyse(result)
        write_report(result, path, analysis)
        report = report_json(result, path, analysis)
    human.print(summary_table(report, result, analysis))
    human.print(f"check it with: make verify ARGS={config.session_id}")
    if options.as_json:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    return 0


@contextmanager
def running_cluster(
    settings: ClusterSettings, home: Home, source: LiveSource, view: LiveView
) -> Iterator[LocalCluster]:
    """The whole local cluster; stopped on the way out, whatever happened."""

    def say(phase: str) -> None:
        view.show(source.phase(phase))

    cluster = LocalCluster(settings, home, say)
    try:
        yield cluster
    finally:
        cluster.stop()


def _session(
    cluster: LocalCluster,
    plan: Plan,
    options: RunOptions,
    source: LiveSource,
    view: LiveView,
    began: float,
) -> tuple[SessionConfig, SessionResult]:
    with ThreadPoolExecutor(1, "fit") as pool:
        models = pool.submit(fitted_plan, cluster.home, plan)
        database = cluster.start_services()
        cluster.start_ray()
        view.show(source.phase("fitting models on the warm-up and on each year's past"))
        fitted = models.result()
    with connect(database.ops, name="sapphire-run") as connection:
        config = record_session(connection, plan, fitted, datetime.now(UTC))
    bars_path = cluster.home.path / "session_bars.npy"
    np.save(bars_path, plan.feed.bars)
    cluster.start_trader(
        TraderRequest(
            session_id=config.session_id,
            database_url=database.trader,
            redis_url=cluster.redis_url,
            coordinator_url=cluster.coordinator_url,
            port=cluster.settings.trader_port,
            bars_path=str(bars_path),
            locks=list(plan.feed.quarantined_at),
            dates_per_second=options.dates_per_second,
        )
    )
    with connect(database.read, name="sapphire-watch") as connection:
        pss = _follow(cluster, source, view, connection, config)
        view.show(source.phase("reading the journal"))
        result = read_session(
            connection,
            config,
            plan.feed.quarantined,
            wall_seconds=time.monotonic() - began,
            pss_mb=pss,
        )
    return config, result


def _follow(
    cluster: LocalCluster,
    source: LiveSource,
    view: LiveView,
    connection: Any,
    config: SessionConfig,
) -> float:
    """Shows the session until it ends; returns the largest PSS seen, in MB."""
    source.watch(connection, config)
    measured, largest = -MEMORY_EVERY_S, 0.0
    while True:
        state, ended = source.look()
        view.show(state)
        if time.monotonic() - measured > MEMORY_EVERY_S or ended:
            largest = max(largest, cluster.memory_mb())
            measured = time.monotonic()
        if ended is not None:
            status, detail = ended
            if status != "finished":
                raise ServiceError(f"the session {status}: {detail}")
            return largest
        if cluster.trader is None or cluster.trader.poll() is not None:
            log = cluster.home.logs / "trader.log"
            raise ServiceError(f"the cloud trader died: {last_lines(log)} (see {log})")
        time.sleep(LOOK_S)
