"""A whole local cluster with a service session of many symbols, and the floors beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import msgspec
import psycopg

from actors.limits import load_limits
from benchmarks.load.arrow_client import Job, Report
from benchmarks.load.floors import BARE, NOOP
from benchmarks.load.market import Market
from benchmarks.load.start_floors import FloorsRequest
from benchmarks.load.wrk import Outcome, Phase, Target, run
from benchmarks.processes import ROOT
from cluster.bring_up import LocalCluster
from cluster.home import Home, write_private
from cluster.model_cache import fitted_models
from cluster.own_token import own_token
from cluster.plan import plan_session
from cluster.processes import (
    Process,
    ServiceError,
    find_processes,
    free_ports,
    last_lines,
    wait_until,
)
from cluster.service_session import LEASE_TTL_S, open_service_session
from cluster.settings import ClusterSettings
from cluster.trader_process import TraderRequest
from data.records import SessionConfig
from data.store import connect
from data.tokens import Scope

START_S = 60.0
CLIENT_LIMIT_S = 600.0
_VERSION = re.compile(r"[-#@][0-9a-z]{8,}$")  # what Ray Serve and we put behind an actor's name


class LoadCluster(LocalCluster):
    """A LocalCluster that lets the floors in beside the coordinator."""

    @property
    def superuser_url(self) -> str:
        """Of the embedded database."""
        if self._postgres is None:
            raise ServiceError("start the services first")
        return self._postgres.url

    def start_floor(self, path: str) -> None:
        """Puts the no-op or the bare calls behind the same ingress, in place of the other one."""
        if self._ray is None:
            raise ServiceError("start Ray first")
        with connect(self.superuser_url, name="load") as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS load_floor"
                " (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)"
            )
        env = {**self._environment(), **self._ray.client_env, "PYTHONPATH": str(ROOT)}
        request = FloorsRequest(
            ray_address=self._ray.address, database_url=self.superuser_url, path=path
        )
        log = self.home.logs / "floors.log"
        child = self._spawn("benchmarks.load.start_floors", request, env, log)
        wait_until(lambda: child.poll() is not None, START_S, "floors", log_path=log)
        if child.returncode:
            raise ServiceError(f"the floors failed: {last_lines(log)} (see {log})")
        wait_until(lambda: self._takes(path), START_S, path)

    def _takes(self, path: str) -> bool:
        try:
            answer = httpx.post(f"{self.coordinator_url}{path}?n=1", content=b"{}", timeout=10.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK


class LoadHouse:
    """The cluster under load. ``say`` hears each phase."""

    def __init__(self, home: Home, symbols: tuple[str, ...], say: Callable[[str], None]) -> None:
        coordinator, trader, dashboard = free_ports(3)
        settings = ClusterSettings().model_copy(
            update={
                "home": home.path,
                "coordinator_port": coordinator,
                "trader_port": trader,
                "dashboard_port": dashboard,
                "database_url": "",
                "redis_url": "",
            }
        )
        self.home = home
        self.say = say
        self.market = Market(symbols, 7)
        self.cluster = LoadCluster(settings, home, say)
        self.config: SessionConfig
        self.token = ""
        self._runs = 0

    def start(self) -> None:
        """Everything up, a service session open, its trader holding the lease."""
        cluster = self.cluster
        database = cluster.start_services()
        cluster.start_ray()
        plan = plan_session(None, None, (), None, 0)
        self.say("models")
        models = fitted_models(self.home, plan)
        with connect(database.ops, name="load") as connection:
            self.config = open_service_session(
                connection,
                self.market.symbols,
                models,
                plan.models_from,
                load_limits(),
                datetime.now(UTC),
                plan.feed,
            )
            self.token = own_token(connection, self.home, "load", (Scope.READ, Scope.DECIDE))
        cluster.start_trader(
            TraderRequest(
                session_id=self.config.session_id,
                database_url=database.trader,
                redis_url=cluster.redis_url,
                coordinator_url=cluster.coordinator_url,
                port=cluster.settings.trader_port,
                lease_ttl_s=LEASE_TTL_S,
            )
        )

    @property
    def target(self) -> Target:
        """Of decide requests."""
        exponent = int(Decimal(self.config.tick).as_tuple().exponent)
        if Decimal(self.config.tick) != Decimal(1).scaleb(exponent) or exponent > 0:
            raise ServiceError(
                f"the walk needs a tick that is a power of ten, not {self.config.tick}"
            )
        url = f"{self.cluster.coordinator_url}/v1/decide"
        return Target(url, self.token, self.config.session_id, -exponent)

    def wrk(self, phase: Phase) -> Outcome:
        """Runs a phase."""
        self.say(f"{phase.name}: {phase.seconds:.0f} s, {phase.connections} connections")
        target = self.target
        if phase.mode == "noop":
            target = Target(
                f"{self.cluster.coordinator_url}{NOOP}",
                self.token,
                target.session_id,
                target.decimals,
            )
        self._runs += 1
        outcome = run(phase, target, self.market, self.home.path, self._runs)
        self.say(
            f"{phase.name}: {outcome.per_second:,.0f}/s,"
            f" p50 {outcome.wrk_p50_ms:.1f} from sending, {outcome.quantile_ms(0.5):.1f} from due,"
            f" p95 {outcome.quantile_ms(0.95):.1f}, p99 {outcome.quantile_ms(0.99):.1f} ms,"
            f" statuses {dict(outcome.statuses)}, wrong {outcome.wrong}"
            + (f" ({outcome.said})" if outcome.said else "")
        )
        return outcome

    def arrow(self, connections: int, *, moments: int = 0, seconds: float = 0.0) -> Report:
        """Runs the Arrow client: ``moments`` of history, or ``seconds`` of now."""
        what = f"{moments} moments" if moments else f"{seconds:.0f} s"
        self.say(f"Arrow, {connections} connections: {what}")
        self._runs += 1
        state = self.home.path / "arrow_state"
        state.write_text("\n".join(self.market.lines()) + "\n")
        path = self.home.path / "arrow_job.json"
        job = Job(
            url=self.target.url,
            token=self.token,
            config=self.config,
            run=f"{self.config.session_id}-a{self._runs}",
            connections=connections,
            moments=moments,
            seconds=seconds,
            seed=self._runs,
            state_path=str(state),
        )
        write_private(path, msgspec.json.encode(job))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load.arrow_client", str(path)],
            cwd=ROOT,
            capture_output=True,
            timeout=CLIENT_LIMIT_S,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode()[-500:]
            raise ServiceError(f"the Arrow client failed ({done.returncode}): {said}")
        report = msgspec.json.decode(done.stdout, type=Report)
        self.market.take(state)
        self.say(
            f"Arrow: {report.bars / report.seconds:,.0f} bars/s, failed {report.failed},"
            f" wrong {report.wrong} {report.said}"
        )
        return report

    def bare(self, turns: int) -> dict[str, list[float]]:
        """Milliseconds of each turn of bare calls, see ``floors.Bare``."""
        self.say(f"bare calls and commits, {turns} turns")
        answer = httpx.post(
            f"{self.cluster.coordinator_url}{BARE}?n={turns}", content=b"{}", timeout=120.0
        )
        return msgspec.json.decode(answer.raise_for_status().content, type=dict[str, list[float]])

    def metrics(self) -> str:
        """The coordinator's own numbers, Prometheus text."""
        answer = httpx.get(f"{self.cluster.coordinator_url}/metrics", timeout=10.0)
        return answer.raise_for_status().text

    def reader(self) -> psycopg.Connection:
        """A connection that can only read."""
        if self.cluster.database is None:
            raise ServiceError("start the services first")
        return connect(self.cluster.database.read, name="load-reader")

    def titles(self) -> dict[int, str]:
        """The named actors that live now, by pid: without cell and version."""
        answer = httpx.get(
            f"{self.cluster.dashboard_url}/api/v0/actors",
            params={"limit": 200, "detail": "true"},
            timeout=10.0,
        ).raise_for_status()
        return {
            int(actor["pid"]): _VERSION.sub("", actor["name"]).removeprefix("SERVE_REPLICA::")
            for actor in answer.json()["data"]["result"]["result"]
            if actor["state"] == "ALIVE" and actor["name"]
        }

    def processes(self) -> list[Process]:
        """All of the cluster, without this one."""
        return [each for each in find_processes(self.home.hash) if each.pid != os.getpid()]
