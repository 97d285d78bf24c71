"""A real local cluster for tests: sessions on it, and ways to hurt and to read it.

Nothing here stands in for a part of the system. Progress is read from PostgreSQL, process ids
from Ray's dashboard; every wait has a condition and an end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg

from actors.ray_actors import gate_actor_name
from cluster.bring_up import CELL, Database, LocalCluster
from cluster.home import Home, Instance
from cluster.model_cache import fitted_plan
from cluster.own_token import own_token
from cluster.plan import FittedModels, Plan, plan_session, record_session
from cluster.processes import Process, find_processes, free_ports, last_lines, wait_until
from cluster.service_session import LEASE_TTL_S, open_service_session
from cluster.settings import ClusterSettings
from cluster.trader_process import TraderRequest
from data import round_log
from data.journal import Record, account_chain, read_chain
from data.records import RoundInput, RoundOutput, SessionConfig, input_decoder, output_decoder
from data.store import connect
from data.tokens import Scope

LAST_DATE = "2002-07-31"
SYMBOLS = ("AAPL", "IBM", "MSFT")
WAIT_S = 60.0
GATE = gate_actor_name(CELL)
COORDINATOR = "ServeReplica:cell0:mcp_coordinator"
ROOT = Path(__file__).resolve().parents[2]


def command_environment(home: Path, ports: tuple[int, int, int]) -> dict[str, str]:
    """The environment of a ``sapphire`` command on ``home``; ports: coordinator, trader, board."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "NUMBA_CACHE_DIR")
    names = ("SAPPHIRE_COORDINATOR_PORT", "SAPPHIRE_TRADER_PORT", "SAPPHIRE_DASHBOARD_PORT")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
        "SAPPHIRE_HOME": str(home),
        "COLUMNS": "200",
    }


def sapphire(
    environment: dict[str, str], *words: str, timeout_s: float = WAIT_S
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class RealCluster:
    """A LocalCluster of this test run, with the models of its one plan."""

    def __init__(self, home: Home) -> None:
        coordinator, trader, dashboard = free_ports(3)
        self.home = home
        self.environment = command_environment(home.path, (coordinator, trader, dashboard))
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
        self.cluster = LocalCluster(settings, home, lambda phase: None)
        self.plan: Plan = plan_session(None, LAST_DATE, SYMBOLS, None, 7, retrain_months=1)
        self.models = FittedModels({})
        self._database: Database | None = None

    def start(self) -> None:
        """Fits the models beside the bring-up, as ``sapphire run`` does."""
        with ThreadPoolExecutor(1) as pool:
            models = pool.submit(fitted_plan, self.home, self.plan)
            self._database = self.cluster.start_services()
            self.cluster.start_ray()
            self.models = models.result()

    @property
    def database(self) -> Database:
        assert self._database is not None
        return self._database

    @property
    def superuser_url(self) -> str:
        """For what no role of the system may do."""
        server = self.cluster._postgres
        assert server is not None
        return server.url

    @contextmanager
    def reader(self) -> Iterator[psycopg.Connection]:
        """A connection that can only read."""
        with connect(self.database.read, name="test-reader") as connection:
            yield connection

    # -- sessions ---------------------------------------------------------------------------

    def start_session(self, dates_per_second: float = 0.0) -> SessionConfig:
        """Records a session of the plan and starts its trader; traded dates at this pace."""
        with connect(self.database.ops, name="test-ops") as connection:
            config = record_session(connection, self.plan, self.models, datetime.now(UTC))
        bars_path = self.home.path / "test_bars.npy"
        np.save(bars_path, self.plan.feed.bars)
        self.cluster.start_trader(
            TraderRequest(
                session_id=config.session_id,
                database_url=self.database.trader,
                redis_url=self.cluster.redis_url,
                coordinator_url=self.cluster.coordinator_url,
                port=self.cluster.settings.trader_port,
                bars_path=str(bars_path),
                locks=list(self.plan.feed.quarantined_at),
                dates_per_second=dates_per_second,
            )
        )
        return config

    def start_service(self, symbols: Sequence[str]) -> tuple[SessionConfig, str]:
        """Opens a service session with its standing trader; (session, a token to decide)."""
        with connect(self.database.ops, name="test-ops") as connection:
            config = open_service_session(
                connection,
                symbols,
                self.models.warm_up,
                self.plan.models_from,
                self.plan.limits,
                datetime.now(UTC),
                self.plan.feed,
            )
            token = own_token(connection, self.home, "load", (Scope.DECIDE, Scope.READ))
        self.cluster.start_trader(
            TraderRequest(
                session_id=config.session_id,
                database_url=self.database.trader,
                redis_url=self.cluster.redis_url,
                coordinator_url=self.cluster.coordinator_url,
                port=self.cluster.settings.trader_port,
                lease_ttl_s=LEASE_TTL_S,
            )
        )
        return config, token

    def end_service(self, config: SessionConfig) -> None:
        """Stops the standing trader, which ends the session."""
        assert self.cluster.trader is not None
        self.cluster.trader.terminate()
        self.finish(config, "stopped")

    def finish(self, config: SessionConfig, expected: str = "finished") -> None:
        """Waits for the trader's end in order; the session must have ended as expected."""
        trader, log = self.cluster.trader, self.home.logs / "trader.log"
        assert trader is not None
        wait_until(lambda: trader.poll() is not None, 2 * WAIT_S, "end of session", log_path=log)
        assert trader.returncode == 0, last_lines(log)
        query = "SELECT status FROM session_end WHERE session_id = %s"
        assert self.one(query, config.session_id) == (expected,)

    def one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        """One row, as committed now."""
        with self.reader() as connection:
            return connection.execute(query, values).fetchone()

    def number(self, query: str, *values: Any) -> int:
        """The one integer that ``query`` answers."""
        row = self.one(query, *values)
        assert row is not None
        return int(row[0])

    def rounds_closed(self, config: SessionConfig) -> int:
        return self.number(
            "SELECT count(*) FROM round_output WHERE session_id = %s", config.session_id
        )

    def await_rounds(self, config: SessionConfig, count: int) -> None:
        """Waits until ``count`` rounds of the session have their output record."""
        trader, log = self.cluster.trader, self.home.logs / "trader.log"
        with self.reader() as connection:
            query = "SELECT count(*) FROM round_output WHERE session_id = %s"

            def reached() -> bool:
                row = connection.execute(query, (config.session_id,)).fetchone()
                return row is not None and row[0] >= count

            wait_until(reached, WAIT_S, f"round {count}", trader, log)

    def await_open_round(self, config: SessionConfig) -> int:
        """Waits for a round with an input record and no output; returns its number."""
        found: list[int] = []
        with self.reader() as connection:

            def is_open() -> bool:
                row = connection.execute(
                    "SELECT round FROM round_input i WHERE session_id = %s AND NOT EXISTS"
                    " (SELECT 1 FROM round_output o WHERE o.cell = i.cell AND o.round = i.round)",
                    (config.session_id,),
                ).fetchone()
                found.extend(row or ())
                return row is not None

            wait_until(is_open, WAIT_S, "an open round", self.cluster.trader)
        return found[0]

    def await_closed(self, number: int) -> None:
        """Waits until round ``number`` of the cell has an output record."""
        query = "SELECT count(*) FROM round_output WHERE cell = %s AND round = %s"
        with self.reader() as connection:

            def closed() -> bool:
                row = connection.execute(query, (CELL, number)).fetchone()
                return row is not None and row[0] == 1

            wait_until(closed, WAIT_S, f"output of round {number}")

    def epoch(self) -> int:
        return self.number("SELECT epoch FROM gate_lease WHERE cell = %s", CELL)

    # -- what a session left behind -----------------------------------------------------------

    def rounds(self, config: SessionConfig) -> list[tuple[RoundInput, RoundOutput]]:
        """The session's rounds as recorded; all of them must be closed with verdicts."""
        with self.reader() as connection:
            logged = list(round_log.rounds(connection, CELL, config.session_id))
        assert {round_.kind for round_ in logged} == {"output"}
        return [
            (input_decoder.decode(round_.input), output_decoder.decode(round_.output or b""))
            for round_ in logged
        ]

    def account_records(self, config: SessionConfig) -> list[Record]:
        """The account's chain."""
        with self.reader() as connection:
            return list(read_chain(connection, account_chain(config.account)))

    def milliseconds_per_round(self, config: SessionConfig) -> float:
        """Median time between two outputs of the warm-up, which is not paced."""
        with self.reader() as connection:
            rows = connection.execute(
                "SELECT extract(epoch FROM j.committed_at)::float8 FROM round_output o"
                " JOIN journal j ON j.chain = 'cell/' || o.cell AND j.seq = o.seq"
                " WHERE o.session_id = %s ORDER BY o.round LIMIT 500",
                (config.session_id,),
            ).fetchall()
        return float(1e3 * np.median(np.diff([row[0] for row in rows])))

    # -- processes ----------------------------------------------------------------------------

    def actor(self, name: str) -> Process:
        """The live process of the actor whose name or class begins with ``name``, as Ray says."""
        return find_actor(self.cluster.dashboard_url, name)

    def trader(self) -> Process:
        """The trader's process."""
        assert self.cluster.trader is not None
        process = Process.of(self.cluster.trader.pid)
        assert process is not None
        return process

    @contextmanager
    def trader_held(self) -> Iterator[None]:
        """No date passes meanwhile, however slow the machine is."""
        trader = self.trader()
        trader.send(signal.SIGSTOP)
        try:
            yield
        finally:
            trader.send(signal.SIGCONT)


def find_actor(dashboard_url: str, name: str) -> Process:
    """The live process of the actor whose name or class begins with ``name``, as Ray says."""
    found: list[Process] = []

    def known() -> bool:
        answer = httpx.get(
            f"{dashboard_url}/api/v0/actors",
            params={"limit": 200, "detail": "true"},
            timeout=10.0,
        ).raise_for_status()
        for entry in answer.json()["data"]["result"]["result"]:
            is_it = entry["name"].startswith(name) or entry["class_name"] == name
            if is_it and entry["state"] == "ALIVE":
                process = Process.of(int(entry["pid"]))
                found.extend([process] if process else [])
        return bool(found)

    wait_until(known, WAIT_S, f"live actor {name}")
    assert len(found) == 1, found
    return found[0]


class RunningCluster:
    """A cluster that ``sapphire up -d`` started, asked and stopped by commands alone."""

    def __init__(self, home: Home, symbols: Sequence[str]) -> None:
        coordinator, trader, dashboard = free_ports(3)
        self.home = home
        self.symbols = tuple(symbols)
        self.environment = command_environment(home.path, (coordinator, trader, dashboard))

    def command(self, *words: str, timeout_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return sapphire(self.environment, *words, timeout_s=timeout_s)

    def up(self) -> None:
        """Returns when the service session takes requests."""
        file = self.home.path.parent / "symbols"
        file.write_text("\n".join(self.symbols))
        done = self.command("up", "-d", "--json", "--symbols-file", str(file), timeout_s=300.0)
        assert done.returncode == 0, done.stderr

    def down(self) -> None:
        """Nothing of it is left."""
        done = self.command("down")
        assert done.returncode == 0, done.stderr
        assert find_processes(self.home.hash) == []

    def instance(self) -> Instance:
        """What the running command tells."""
        instance = self.home.read_instance()
        assert instance is not None
        return instance

    @property
    def addresses(self) -> dict[str, str]:
        return self.instance().addresses

    @property
    def session_id(self) -> str:
        return self.instance().session_id

    @property
    def coordinator(self) -> str:
        return self.addresses["coordinator"]

    def token(self) -> str:
        """A new one, to decide and read as fast as it likes."""
        scopes = ("--scope", "decide", "--scope", "read")
        done = self.command("token", "create", "--name", "load", *scopes, "--rate", "100000")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def reader(self) -> Iterator[psycopg.Connection]:
        """A connection that can only read."""
        with connect(self.addresses["database"], name="test-reader") as connection:
            yield connection

    def actor(self, name: str) -> Process:
        """See ``find_actor``."""
        return find_actor(self.addresses["dashboard"], name)

    def part(self, name: str) -> Process:
        """The main process of ``postgres`` or ``valkey``: the first that was started."""
        return min(find_processes(self.home.hash, name), key=lambda process: process.started)


def kill(process: Process) -> float:
    """kill -9; returns the moment (monotonic seconds) when the process was gone."""
    process.send(signal.SIGKILL)
    wait_until(lambda: not process.alive(), 5.0, f"death of {process}")
    return time.monotonic()
