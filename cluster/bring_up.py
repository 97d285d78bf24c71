"""Bring-up and stop of a whole local cluster: PostgreSQL, Valkey, Ray, Serve, the cloud trader."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import psycopg

from cluster.coordinator_call import COMMANDS_TOKEN
from cluster.deploy import DeployRequest
from cluster.embedded_postgres import EmbeddedPostgres
from cluster.embedded_valkey import EmbeddedValkey
from cluster.home import Home, HomeLock, Instance, write_private
from cluster.own_token import own_token
from cluster.processes import (
    Process,
    ServiceError,
    find_processes,
    last_lines,
    marker,
    ports_free,
    pss_mb,
    spawn,
    terminate_home,
    wait_until,
)
from cluster.ray_head import ESSENTIAL, RayHead
from cluster.serve_env import serve_env, serve_ports
from cluster.settings import ClusterSettings
from cluster.supervisor import Part, Supervisor
from cluster.trader_process import TraderRequest
from data.store import ROLES, connect, ensure_roles, migrate, with_user
from data.tokens import Scope

CELL = 0
DEPLOY_TIMEOUT_S = 90.0
TRADER_TIMEOUT_S = 30.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Database:
    """The addresses of one database for each role."""

    coordinator: str
    gate: str
    trader: str
    ops: str
    read: str


def open_database(home: Home, superuser_url: str) -> Database:
    """Roles, migrations and the roles' addresses, on the embedded server."""
    passwords = {role: home.secret(role) for role in ROLES}
    ensure_roles(superuser_url, passwords)
    migrate(superuser_url)
    urls = {role: with_user(superuser_url, role, word) for role, word in passwords.items()}
    return Database(*[urls[f"sapphire_{part}"] for part in Database.__dataclass_fields__])


def given_database(url: str) -> Database:
    """The roles' addresses on a server that somebody else runs: one login for all of them."""
    ensure_roles(url, {})
    migrate(url)
    return Database(url, url, url, url, url)


def open_home(settings: ClusterSettings) -> Home:
    """The home directory, made when it is missing; InputError before anything is written.

    A home that exists may hold the leftovers of a killed run on these very ports: they are looked
    at after the clean-up then.
    """
    home = Home(settings.home)
    if not home.path.exists():
        ports_free(settings.ports)
    return home.create()


class LocalCluster:
    """Everything that ``sapphire run`` and ``sapphire up`` start. ``say`` hears each phase."""

    def __init__(self, settings: ClusterSettings, home: Home, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.home = home
        self.database: Database | None = None
        self.redis_url = settings.redis_url
        self.trader_token = ""
        self.trader: subprocess.Popen[bytes] | None = None
        self.trader_url = f"http://{LOOPBACK}:{settings.trader_port}"
        self.coordinator_url = f"http://{LOOPBACK}:{settings.coordinator_port}"
        self._say = say
        self._instance = secrets.token_hex(8)
        self._marker = marker(home.hash, self._instance)
        self._postgres: EmbeddedPostgres | None = None
        self._valkey: EmbeddedValkey | None = None
        self._ray: RayHead | None = None
        self._essential: list[Process] = []
        self._trader_request: TraderRequest | None = None
        self._restarts: dict[str, int] = {}
        self._session: tuple[str, list[str]] = ("", [])

    @property
    def dashboard_url(self) -> str:
        """Where the Ray dashboard answers."""
        return f"http://{LOOPBACK}:{self.settings.dashboard_port}"

    def start_services(self) -> Database:
        """Cleans up after a killed run, then starts PostgreSQL and Valkey."""
        self._say("cleaning up after earlier runs")
        survivors = terminate_home(self.home.hash, grace_seconds=1.0)
        if survivors:
            raise ServiceError(f"processes of an earlier run do not end: {survivors}")
        settings = self.settings
        ports_free(settings.ports)
        self._tell()
        if settings.database_url:
            self.database = given_database(settings.database_url)
        else:
            self._say("starting PostgreSQL")
            self._postgres = EmbeddedPostgres(self.home, self._marker)
            self.database = open_database(self.home, self._postgres.start())
        if not self.redis_url:
            self._say("starting Valkey")
            self._valkey = EmbeddedValkey(self.home, self._marker)
            self.redis_url = self._valkey.start()
        with connect(self.database.ops, name="sapphire-start") as connection:
            own_token(connection, self.home, COMMANDS_TOKEN, (Scope.READ, Scope.OPERATE))
            self.trader_token = own_token(connection, self.home, "trader", (Scope.DECIDE,))
        self._tell()
        return self.database

    def start_ray(self) -> None:
        """Starts Ray and puts the cell on it; returns when the coordinator is ready."""
        if self.database is None:
            raise ServiceError("start the services first")
        self._say("starting Ray")
        env = self._environment()
        self._ray = RayHead(
            self.home,
            self._marker,
            env,
            dashboard_port=self.settings.dashboard_port,
            reserved={*self.settings.ports.values(), *serve_ports(env)},
        )
        address = self._ray.start()
        self._essential = [each for each in self._ray.processes() if each.name in ESSENTIAL]
        self._say("deploying six agents, the risk gate and the coordinator")
        request = DeployRequest(
            ray_address=address,
            cell=CELL,
            port=self.settings.coordinator_port,
            agents_database_url=self.database.read,
            gate_database_url=self.database.gate,
            coordinator_database_url=self.database.coordinator,
            redis_url=self.redis_url,
        )
        log = self.home.logs / "deploy.log"
        child = self._spawn("cluster.deploy", request, {**env, **self._ray.client_env}, log)
        wait_until(lambda: child.poll() is not None, DEPLOY_TIMEOUT_S, "deployment", log_path=log)
        if child.returncode:
            raise ServiceError(f"deployment failed: {last_lines(log)} (see {log})")
        wait_until(self._coordinator_answers, 30.0, "coordinator", log_path=log)
        self._tell()

    def start_trader(self, request: TraderRequest) -> None:
        """Starts the cloud trader; returns when its health endpoint answers."""
        self._say("starting the cloud trader")
        request = msgspec.structs.replace(request, token=self.trader_token)
        self._trader_request = request
        log = self.home.logs / "trader.log"
        self.trader = self._spawn("cluster.trader_process", request, self._environment(), log)
        wait_until(
            lambda: _answers(f"{self.trader_url}/healthz"),
            TRADER_TIMEOUT_S,
            "cloud trader",
            self.trader,
            log,
        )
        self._tell()

    def supervisor(self, say: Callable[[str], None]) -> Supervisor:
        """Over everything that was started here; ``say`` hears each death and restart."""
        parts: list[Part] = []
        if self._postgres is not None:
            server = self._postgres
            parts.append(
                Part("PostgreSQL", server.alive, lambda: _done(server.restart()), server.log_path)
            )
        if self._valkey is not None:
            cache = self._valkey
            parts.append(
                Part("Valkey", cache.alive, lambda: _done(cache.restart()), cache.log_path)
            )
        log = self.home.logs / "ray_start.log"
        parts += [Part(f"Ray's {each.name}", each.alive, None, log) for each in self._essential]
        if self._trader_request is not None:
            parts.append(
                Part(
                    "the cloud trader",
                    lambda: self.trader is not None and self.trader.poll() is None,
                    self._restart_trader,
                    self.home.logs / "trader.log",
                )
            )
        return Supervisor(parts, say, self._count)

    def quiet(self) -> None:
        """From now on no phases are said: the bring-up is over."""
        self._say = lambda _: None

    def ready_for(self, session_id: str, symbols: list[str]) -> None:
        """Tells other commands that this service session takes requests now."""
        self._session = (session_id, symbols)
        self._tell()

    def _count(self, restarts: dict[str, int]) -> None:
        self._restarts = restarts
        self._tell()

    def _restart_trader(self) -> None:
        """A new trader, once the dead one's lease has run out."""
        request = self._trader_request
        if request is None or self.database is None:
            raise ServiceError("no cloud trader was started")
        try:
            with connect(self.database.read, name="sapphire-supervisor") as connection:
                wait_until(
                    lambda: _lease_is_free(connection, request.session_id),
                    2 * request.lease_ttl_s + 1.0,
                    "the dead trader's lease",
                )
        except psycopg.Error as error:
            raise ServiceError(f"the trader's lease cannot be read: {error}") from error
        self.start_trader(request)

    def memory_mb(self) -> float:
        """PSS of all the cluster's processes, this one included, in MB."""
        own = Process.of(os.getpid())
        return pss_mb([*find_processes(self.home.hash), *([own] if own else [])])

    def stop(self) -> None:
        """Stops everything, the trader first and the database last; bounded below 10 s.

        A signal does not interrupt it, and one part that does not die keeps no other from stopping.
        """
        with ExitStack() as parts:
            for number in (signal.SIGINT, signal.SIGTERM):
                parts.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
            parts.callback(self.home.remove_instance)
            parts.callback(terminate_home, self.home.hash, 0.3, 1.0)
            if self._postgres is not None:
                parts.callback(self._postgres.stop, 2.0)
            if self._valkey is not None:
                parts.callback(self._valkey.stop, 1.0)
            if self._ray is not None:
                parts.callback(self._ray.stop)
            self._stop_trader()

    def _stop_trader(self) -> None:
        if self.trader is not None and self.trader.poll() is None:
            self.trader.terminate()
            try:
                self.trader.wait(2.5)
            except subprocess.TimeoutExpired:
                self.trader.kill()

    def _spawn(
        self, module: str, request: msgspec.Struct, env: dict[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        path = self.home.path / f"{module.rpartition('.')[2]}.json"
        write_private(path, msgspec.json.encode(request))
        return spawn([sys.executable, "-m", module, path], env, log)

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TZ", "NUMBA_CACHE_DIR", "TMPDIR", "VIRTUAL_ENV")
        base = {name: os.environ[name] for name in kept if name in os.environ}
        return {
            **base,
            **serve_env(self.home.runtime_dir(), self.settings.ports.values()),
            **self._marker,
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "LOG_LEVEL": self.settings.log_level,
        }

    def _coordinator_answers(self) -> bool:
        # Not /readyz: that also waits for a trader's lease, and the trader comes later.
        return _answers(f"{self.coordinator_url}/healthz")

    def _tell(self) -> None:
        addresses = {
            "trader": self.trader_url,
            "coordinator": self.coordinator_url,
            "dashboard": self.dashboard_url,
        }
        if self._ray is not None and self._ray.metrics_port:
            addresses["metrics"] = f"http://{LOOPBACK}:{self._ray.metrics_port}"
        if self.database is not None:
            addresses["database"] = self.database.read
            addresses["operations"] = self.database.ops
        if self.redis_url:
            addresses["redis"] = self.redis_url
        ports = {
            "trader": self.settings.trader_port,
            "coordinator": self.settings.coordinator_port,
            "dashboard": self.settings.dashboard_port,
        }
        self.home.write_instance(
            Instance(
                pid=os.getpid(),
                instance_id=self._instance,
                ports=ports,
                addresses=addresses,
                restarts=self._restarts,
                session_id=self._session[0],
                symbols=self._session[1],
            )
        )


def _lease_is_free(connection: psycopg.Connection, session_id: str) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM trader_lease JOIN session USING (account)"
        " WHERE session_id = %s AND expires_at >= clock_timestamp()",
        (session_id,),
    ).fetchone()
    return row is not None and row[0] == 0


def _done(_: object) -> None:
    """For a restart whose answer is known: the address stays what it was."""


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def database_answers(url: str) -> bool:
    """Whether the database takes a connection now."""
    with connect(url, name="sapphire-probe") as connection:
        return connection.execute("SELECT 1").fetchone() is not None


__all__ = ["CELL", "Database", "HomeLock", "LocalCluster", "open_database", "time"]
