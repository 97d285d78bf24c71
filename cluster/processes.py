"""Process hygiene: every process we start is marked, found again, and stopped for certain.

The mark is an environment variable, which children inherit, so it survives what a process tree
or a pid file does not: a parent killed with -9, a daemon that re-parents itself, a new session.
Linux keeps the environment a process was started with in ``/proc/PID/environ``.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError

MARK = "SAPPHIRE_INSTANCE"
PART = "SAPPHIRE_PART"
_LOG_LIMIT = 4 << 20
_POLL_SECONDS = 0.02
_PORTS = range(20_000, 30_000)  # Ray Serve's replicas listen from 30,000 on


class ServiceError(RuntimeError):
    """A service did not start, died, or did not become ready in time."""


@dataclass(frozen=True)
class Clock:
    """The wall clock of waits: monotonic seconds, and a way to let time pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


WALL = Clock()


@dataclass(frozen=True, order=True)
class Process:
    """One process, told apart from a later one with the same pid by its start (clock ticks)."""

    pid: int
    started: int
    name: str = ""
    instance: str = ""
    part: str = ""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The live process ``pid``; ``None`` if there is none, or only its zombie."""
        about = _stat(pid)
        return cls(pid, about.started, about.name) if about else None

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        about = _stat(self.pid)
        return about is not None and about.started == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal this very process, never a later owner of its pid; gone already is fine."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            self._send_by_pid(number)
            return
        try:
            # The descriptor pins the process, so what alive() sees is what is signalled.
            if self.alive():
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)

    def _send_by_pid(self, number: signal.Signals) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


@dataclass(frozen=True)
class _Stat:
    name: str
    parent: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may itself hold blanks and parentheses.
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    return _Stat(name, int(fields[1]), int(fields[19]))


def marker(home_hash: str, instance_id: str, part: str = "") -> dict[str, str]:
    """The environment that marks every process of one run of one home, and of one part of it.

    ``SPT_NOENV`` keeps setproctitle (Ray's workers use it) from overwriting the environment.
    """
    return {MARK: f"{home_hash}:{instance_id}", PART: part, "SPT_NOENV": "1"}


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _marks(pid: int, home_hash: str) -> tuple[str, str] | None:
    """Instance and part from the environment of ``pid``, if the home marked it."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # Gone, or of another user: not ours.
    entries = (entry.partition(b"=") for entry in environment.split(b"\0"))
    values = {name.decode(errors="replace"): value for name, _, value in entries}
    instance = values.get(MARK, b"").decode(errors="replace")
    if not instance.startswith(f"{home_hash}:"):
        return None
    return instance, values.get(PART, b"").decode(errors="replace")


def find_processes(home_hash: str, part: str | None = None) -> list[Process]:
    """The live processes marked by any run of a home, and their descendants, by pid.

    ``part``: only those of this part. Descendants count because some programs (PostgreSQL's
    backends) overwrite their environment. The calling process is never among them.
    """
    stats = {pid: about for pid in _pids() if (about := _stat(pid))}
    marks = {pid: found for pid in stats if (found := _marks(pid, home_hash))}
    children: dict[int, list[int]] = {}
    for pid, about in stats.items():
        children.setdefault(about.parent, []).append(pid)
    waiting = list(marks)
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            if child not in marks:
                marks[child] = marks[parent]
                waiting.append(child)
    return sorted(
        Process(pid, stats[pid].started, stats[pid].name, *found)
        for pid, found in marks.items()
        if pid != os.getpid() and part in (None, found[1])
    )


def find_by_directory(directory: Path, name: str) -> list[Process]:
    """The live processes called ``name`` whose working directory is ``directory``."""
    found = []
    for pid in _pids():
        about = _stat(pid)
        if about is None or about.name != name:
            continue
        try:
            working = os.readlink(f"/proc/{pid}/cwd")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if working == str(directory.resolve()):
            found.append(Process(pid, about.started, about.name))
    return found


def terminate_all(
    processes: Iterable[Process],
    grace_seconds: float = 3.0,
    kill_after: float = 2.0,
    clock: Clock = WALL,
) -> list[Process]:
    """SIGTERM, wait ``grace_seconds``, SIGKILL what is left, wait ``kill_after`` more seconds.

    Returns the processes that live even then: empty when all is well.
    """
    left = [process for process in processes if process.alive()]
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, kill_after)):
        for process in left:
            process.send(number)
        deadline = clock.now() + patience
        while left := [process for process in left if process.alive()]:
            if clock.now() >= deadline:
                break
            clock.sleep(_POLL_SECONDS)
    return left


def terminate_home(
    home_hash: str,
    grace_seconds: float = 2.0,
    kill_after: float = 2.0,
    part: str | None = None,
    clock: Clock = WALL,
) -> list[Process]:
    """Stop every marked process of a home (or one part), also those that were born meanwhile.

    Returns the survivors after the second look: empty when all is well.
    """
    for grace in (grace_seconds, 0.0):
        terminate_all(find_processes(home_hash, part), grace, kill_after, clock)
    return find_processes(home_hash, part)


def pss_mb(processes: Iterable[Process]) -> float:
    """Proportional set size of the live ``processes`` together, in MB (10⁶ bytes).

    Shared pages count once over all their users. Reads ``smaps_rollup``; raises
    PermissionError for the processes of another user.
    """
    total = 0
    for process in processes:
        if not process.alive():
            continue
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
    return total * 1024 / 1e6


def spawn(
    argv: Sequence[str | Path],
    env: Mapping[str, str],
    log_path: Path,
    cwd: Path | None = None,
    user: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, so that a Ctrl-C reaches only us.

    ``env`` is the whole environment. Output is appended to ``log_path``; a log beyond 4 MiB is
    first moved aside, over its predecessor. ``user``: uid and gid to drop to (root only).
    """
    if log_path.exists() and log_path.stat().st_size > _LOG_LIMIT:
        log_path.replace(log_path.with_suffix(log_path.suffix + ".1"))
    descriptor = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(
            [os.fspath(part) for part in argv],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    finally:
        os.close(descriptor)


def last_lines(log_path: Path, count: int = 5) -> str:
    """The end of a log on one line, for an error that a person reads."""
    try:
        with log_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "no log"
    return " | ".join(line.strip() for line in lines[-count:] if line.strip()) or "empty log"


def wait_until(
    condition: Callable[[], bool],
    timeout: float,
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log_path: Path | None = None,
    clock: Clock = WALL,
) -> None:
    """Wait until ``condition()``; :class:`ServiceError` when ``process`` dies or time ends."""
    deadline = clock.now() + timeout
    while not condition():
        log = f": {last_lines(log_path)} (see {log_path})" if log_path else ""
        if process is not None and process.poll() is not None:
            raise ServiceError(f"{what}: process ended with code {process.returncode}{log}")
        if clock.now() >= deadline:
            raise ServiceError(f"{what}: not ready after {timeout:g} s{log}")
        clock.sleep(_POLL_SECONDS)


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts TCP connections there now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def wait_for_port(
    port: int,
    timeout: float,
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log_path: Path | None = None,
    clock: Clock = WALL,
) -> None:
    """Wait until ``port`` of this machine accepts connections; see :func:`wait_until`."""
    wait_until(lambda: port_open(port), timeout, f"{what} on port {port}", process, log_path, clock)


def port_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def ports_free(ports: Mapping[str, int], host: str = "127.0.0.1") -> None:
    """Check that every port is free.

    ``ports``: the setting that changes it (``COORDINATOR_PORT``) → its port. Raises
    :class:`InputError` naming the first taken port and its setting.
    """
    for setting, port in ports.items():
        if not port_free(port, host):
            raise InputError(
                f"port {port} on {host} is taken: stop what listens there, "
                f"or set {setting} to a free port"
            )


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1", avoid: Collection[int] = ()) -> list[int]:
    """``count`` different ports that were free a moment ago, none of those to ``avoid``.

    From below the range that the kernel gives to clients: one of Ray's many connections could take
    a port of that range before its server binds it.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if port not in avoid and port_free(port, host):
            found.append(port)
            if len(found) == count:
                return found
    raise ServiceError(f"fewer than {count} ports from {_PORTS[0]} to {_PORTS[-1]} are free")


def package_directory(package: str) -> Path:
    """Where an installed package stands, found without importing it; raises ServiceError."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError(f"package {package} is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0])
