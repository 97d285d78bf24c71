"""``sapphire up``: everything started and ready for requests, until Ctrl-C."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
from rich.console import Console

from actors.limits import load_limits
from cluster.bring_up import LocalCluster, open_home
from cluster.live_source import LiveSource
from cluster.live_view import LiveView
from cluster.plan import HORIZON, plan_session, save_models, session_config
from cluster.processes import ServiceError, last_lines
from cluster.settings import TradingMode, load, load_cluster, require_paper
from cluster.stopping import Stopped, stoppable
from cluster.trader_process import TraderRequest
from data.records import SessionConfig
from data.sessions import save_session
from data.store import connect
from tuning.fit_models import fit_models

LOOK_S = 1.0


def up() -> int:
    """Starts the cluster with an open paper session on the sample's symbols; 0 after Ctrl-C."""
    began = time.monotonic()
    settings = load_cluster()
    require_paper(load(TradingMode))
    load_limits()
    home = open_home(settings)
    console = Console()
    with home.lock(), stoppable():
        source = LiveSource(settings, None, began)
        view = LiveView(time.monotonic)
        cluster = LocalCluster(settings, home, lambda phase: view.show(source.phase(phase)))
        try:
            with view:
                config = _start(cluster)
            symbols = ", ".join(config.symbols)
            console.print(f"ready: session {config.session_id}, symbols {symbols}")
            console.print(f"  coordinator {cluster.coordinator_url}/v1/decide")
            console.print(f"  cloud trader {cluster.trader_url}/readyz")
            console.print(f"  Ray dashboard {cluster.dashboard_url}")
            console.print("Ctrl-C stops everything")
            _wait(cluster)
        except Stopped:
            console.print("stopping")
        finally:
            cluster.stop()
    return 0


def _start(cluster: LocalCluster) -> SessionConfig:
    """Services, Ray, a service session and its trader."""
    database = cluster.start_services()
    cluster.start_ray()
    plan = plan_session(None, None, (), None, 0)
    fitted = fit_models(plan.fit_bars, HORIZON, plan.seed)
    now = datetime.now(UTC)
    with connect(database.ops, name="sapphire-up") as connection:
        names = save_models(connection, plan, fitted)
        config = session_config(plan.feed, names, plan.limits, now, "paper")
        config = msgspec.structs.replace(
            config,
            first_traded=plan.models_from,
            models_from=plan.models_from,
            data_name="requests",
        )
        save_session(connection, config)
    cluster.start_trader(
        TraderRequest(
            session_id=config.session_id,
            database_url=database.trader,
            redis_url=cluster.redis_url,
            coordinator_url=cluster.coordinator_url,
            port=cluster.settings.trader_port,
        )
    )
    return config


def _wait(cluster: LocalCluster) -> None:
    while True:
        if cluster.trader is None or cluster.trader.poll() is not None:
            log = cluster.home.logs / "trader.log"
            raise ServiceError(f"the cloud trader died: {last_lines(log)} (see {log})")
        time.sleep(LOOK_S)
