"""``sapphire up``: everything started and ready for requests, until Ctrl-C or ``sapphire down``."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from actors.limits import load_limits
from cluster.bring_up import LocalCluster, open_home
from cluster.home import Home, Instance
from cluster.live_source import LiveSource
from cluster.live_view import LiveView
from cluster.model_cache import fitted_models
from cluster.plan import plan_session
from cluster.processes import ServiceError, spawn
from cluster.service_session import (
    LEASE_TTL_S,
    chosen_symbols,
    open_service_session,
)
from cluster.settings import TradingMode, load, load_cluster, require_paper
from cluster.stopping import Stopped, stoppable
from cluster.supervisor import LOOK_S
from cluster.trader_process import TraderRequest
from data.records import SessionConfig
from data.store import connect

DAEMON_TIMEOUT_S = 180.0
EXAMPLE_PRICE = "100.0000"


@dataclass(frozen=True)
class UpOptions:
    """What a person asked for on the command line."""

    symbols: str | None = None
    symbols_file: Path | None = None
    daemon: bool = False
    as_json: bool = False


def up(options: UpOptions) -> int:
    """Starts the cluster with an open service session; 0 after a stop in order."""
    began = time.monotonic()
    settings = load_cluster()
    require_paper(load(TradingMode))
    limits = load_limits()
    plan = plan_session(None, None, (), None, 0)
    symbols = chosen_symbols(options.symbols, options.symbols_file, plan.feed.symbols)
    home = open_home(settings)
    console = Console(stderr=options.as_json, highlight=False, soft_wrap=True)
    if options.daemon:
        return _daemon(options, home, console, began)
    with home.lock(), stoppable():
        source = LiveSource(settings, None, began)
        view = LiveView(time.monotonic, machine=options.as_json)
        cluster = LocalCluster(settings, home, lambda phase: view.show(source.phase(phase)))
        try:
            with view:
                database = cluster.start_services()
                cluster.start_ray()
                view.show(source.phase("fitting models on the sample's warm-up"))
                models = fitted_models(home, plan)
                with connect(database.ops, name="sapphire-up") as connection:
                    config = open_service_session(
                        connection,
                        symbols,
                        models,
                        plan.models_from,
                        limits,
                        datetime.now(UTC),
                        plan.feed,
                    )
                _start_trader(cluster, config)
                cluster.ready_for(config.session_id, config.symbols)
            _tell(home, options, console, began)
            if not options.as_json:
                console.print("Ctrl-C, or 'sapphire down', stops everything")
            _supervise(cluster, console)
        except Stopped:
            console.print("stopping")
        finally:
            cluster.stop()
    return 0


def _start_trader(cluster: LocalCluster, config: SessionConfig) -> None:
    """The standing trader: it holds the account's lease, without which nothing is approved."""
    if cluster.database is None:
        raise ServiceError("start the services first")
    cluster.start_trader(
        TraderRequest(
            session_id=config.session_id,
            database_url=cluster.database.trader,
            redis_url=cluster.redis_url,
            coordinator_url=cluster.coordinator_url,
            port=cluster.settings.trader_port,
            lease_ttl_s=LEASE_TTL_S,
        )
    )


def _supervise(cluster: LocalCluster, console: Console) -> None:
    """Until a signal: what dies is started again; ServiceError when that is hopeless."""
    log = cluster.home.logs / "supervisor.log"

    def say(line: str) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        with log.open("a") as file:
            file.write(f"{moment} {line}\n")
        console.print(line)

    # The bring-up's phases were shown by the view, which is closed now.
    cluster.quiet()
    supervisor = cluster.supervisor(say)
    while True:
        supervisor.look()
        time.sleep(LOOK_S)


def _daemon(options: UpOptions, home: Home, console: Console, began: float) -> int:
    """Starts the same command in a session of its own; returns when it is ready or has failed."""
    log = home.logs / "up.log"
    words = ["--symbols", options.symbols] if options.symbols is not None else []
    if options.symbols_file is not None:
        words += ["--symbols-file", str(options.symbols_file.expanduser().absolute())]
    before = log.stat().st_size if log.exists() else 0
    child = spawn(
        [sys.executable, "-m", "cluster.cli", "up", *words],
        {**os.environ, "PYTHONPATH": _path(), "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
        log,
    )
    while child.poll() is None:
        instance = home.read_instance()
        if instance is not None and instance.pid == child.pid and instance.session_id:
            _tell(home, options, console, began)
            console.print(f"runs in the background (pid {child.pid}); its log is {log}")
            return 0
        if time.monotonic() - began > DAEMON_TIMEOUT_S:
            child.terminate()
            raise ServiceError(f"not ready after {DAEMON_TIMEOUT_S:.0f} s (see {log})")
        time.sleep(LOOK_S)
    last = _last_line(log, before)
    print(last or f"sapphire: up ended with code {child.returncode} (see {log})", file=sys.stderr)
    return child.returncode or 1


def _path() -> str:
    """The modules of this very code, wherever the command stands."""
    root = str(Path(__file__).resolve().parent.parent)
    given = os.environ.get("PYTHONPATH")
    return f"{root}{os.pathsep}{given}" if given else root


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        if os.fstat(file.fileno()).st_size >= start:
            file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    told = [line for line in lines if line.startswith("sapphire: ")]
    return told[-1] if told else ""


def _tell(home: Home, options: UpOptions, console: Console, began: float) -> None:
    """What a person needs to ask the first question; with --json, one line for a program."""
    instance = home.read_instance()
    if instance is None:
        raise ServiceError("the instance file is gone")
    if options.as_json:
        answer = {
            "pid": instance.pid,
            "session_id": instance.session_id,
            "symbols": instance.symbols,
            "coordinator": instance.addresses["coordinator"],
            "trader": instance.addresses["trader"],
            "dashboard": instance.addresses["dashboard"],
            "metrics": instance.addresses.get("metrics", ""),
            "seconds": round(time.monotonic() - began, 2),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        return
    for line in ready_lines(instance):
        console.print(line, markup=False)


def ready_lines(instance: Instance) -> list[str]:
    """The session, its addresses, how to get a token, and a first request that works as typed."""
    shown = ", ".join(instance.symbols[:8])
    if len(instance.symbols) > 8:
        shown += f" and {len(instance.symbols) - 8:,} more"
    address = instance.addresses["coordinator"]
    bar = {
        "symbol": instance.symbols[0],
        "ts": 0,
        "open": EXAMPLE_PRICE,
        "high": EXAMPLE_PRICE,
        "low": EXAMPLE_PRICE,
        "close": EXAMPLE_PRICE,
        "volume": 1000,
    }
    body = {"session_id": instance.session_id, "request_id": "first-TS", "bars": [bar]}
    typed = json.dumps(body).replace('"ts": 0', "\"ts\": '$TS'").replace("-TS", "-'$TS'")
    request = (
        f'  TS=$(date +%s%N); curl -s {address}/v1/decide -H "Authorization: Bearer $TOKEN"'
        f" -H 'Content-Type: application/json' -d '{typed}'"
    )
    return [
        f"ready: session {instance.session_id}, symbols {shown}",
        f"  requests      {address}/v1/decide",
        f"  cloud trader  {instance.addresses['trader']}/readyz",
        f"  Ray dashboard {instance.addresses['dashboard']}",
        f"  Ray's metrics {instance.addresses.get('metrics', 'not up')}/metrics",
        "a token, then a first request:",
        "  TOKEN=$(.venv/bin/sapphire token create --name me --scope read --scope decide)",
        request,
    ]
