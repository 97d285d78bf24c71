"""The directory of one local installation: its lock, secrets, instance file and socket directory.

Everything a local Sapphire keeps stands below one directory (``.sapphire`` by default), readable
by its owner only. An exclusive ``flock`` makes sure that one command at a time runs there: the
kernel drops the lock when its holder dies, so a killed run never leaves a stale one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType

import msgspec

from data.errors import InputError

DEFAULT_DIRECTORY = Path(".sapphire")
# HAProxy allows its socket 97 bytes, of which Ray Serve takes 76 below this directory.
_LONGEST_RUNTIME_DIRECTORY = 21


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What a running installation tells other commands: ``instance.json``."""

    pid: int
    instance_id: str
    ports: dict[str, int] = {}
    addresses: dict[str, str] = {}
    restarts: dict[str, int] = {}  # by the supervisor, since the start
    session_id: str = ""  # of the service session, once requests are answered
    symbols: list[str] = []


class HomeLock:
    """The held lock of a home; leaving the ``with`` block, or dying, releases it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the home back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> HomeLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Home:
    """One installation below ``path``. Nothing touches the disk before :meth:`create`."""

    def __init__(self, path: Path | str = DEFAULT_DIRECTORY) -> None:
        self.path = Path(path).expanduser().absolute()

    @property
    def hash(self) -> str:
        """Twelve hex digits naming this directory of this user, stable over restarts."""
        return hashlib.sha256(f"{os.getuid()}:{self.path.resolve()}".encode()).hexdigest()[:12]

    @property
    def logs(self) -> Path:
        """The directory of the services' log files."""
        return self.path / "logs"

    def create(self) -> Home:
        """Make the directory, mode 700.

        Raises :class:`InputError` where it cannot be made or written, or is another user's.
        """
        advice = "give a directory you own with SAPPHIRE_HOME"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = self.path.stat().st_uid
            if owner != os.getuid():
                raise InputError(f"home directory {self.path}: belongs to user {owner}; {advice}")
            # Without the execute bits of others, which the service user may have been given.
            os.chmod(self.path, 0o700 | (stat.S_IMODE(self.path.stat().st_mode) & 0o011))
            self.logs.mkdir(exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InputError(
                f"home directory {self.path}: not writable ({error.strerror}); {advice}"
            ) from error
        return self

    def lock(self) -> HomeLock:
        """Take the home for this process; :class:`InputError` while another one has it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            os.close(descriptor)
            raise InputError(
                f"another sapphire runs in {self.path} (pid {holder}): "
                "stop it with Ctrl-C, or wait, or set SAPPHIRE_HOME to another directory"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return HomeLock(descriptor)

    def is_locked(self) -> bool:
        """Whether a command runs here now (it holds the lock)."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> int | None:
        """The pid of the command that holds the lock now; None when nobody does."""
        if not self.is_locked():
            return None
        text = (self.path / "lock").read_text().strip()
        return int(text) if text.isdigit() else None

    def write_instance(self, instance: Instance) -> None:
        """Tell other commands what runs here; replaced in one step, mode 600."""
        write_private(self.path / "instance.json", msgspec.json.encode(instance))

    def read_instance(self) -> Instance | None:
        """What was last told, ``None`` if nothing; whether it still lives is another question."""
        try:
            content = (self.path / "instance.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=Instance)
        except msgspec.DecodeError as error:
            raise InputError(
                f"{self.path / 'instance.json'}: damaged ({error}); delete it"
            ) from error

    def remove_instance(self) -> None:
        """Forget the instance file, as the last step of a stop."""
        (self.path / "instance.json").unlink(missing_ok=True)

    def secret(self, name: str) -> str:
        """The generated secret called ``name``, made at its first use, kept in mode 600.

        Only the holder of the lock may call this: two writers could lose a secret.
        """
        path = self.path / "secrets.json"
        try:
            known: dict[str, str] = json.loads(path.read_bytes())
        except FileNotFoundError:
            known = {}
        except ValueError as error:
            raise InputError(
                f"{path}: damaged ({error}); restore it, or delete {self.path} to start anew"
            ) from error
        if name not in known:
            known[name] = secrets.token_hex(24)
            write_private(path, json.dumps(known, indent=1).encode())
        return known[name]

    def runtime_dir(self) -> Path:
        """A short directory for sockets, mode 700, below the system's temporary one.

        Raises :class:`InputError` when somebody else already owns its name.
        """
        name = f"sph-{self.hash[:8]}"
        path = Path(tempfile.gettempdir()) / name
        if len(os.fsencode(path)) > _LONGEST_RUNTIME_DIRECTORY:
            path = Path("/tmp") / name  # noqa: S108 - checked below: ours, mode 700
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be made ({error.strerror}); set TMPDIR to a writable directory"
            ) from error
        about = path.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            raise InputError(f"{path}: not a directory of this user; remove it or set TMPDIR")
        if stat.S_IMODE(about.st_mode) & 0o066:
            path.chmod(0o700)
        return path


def _try_lock(descriptor: int) -> bool:
    """Take the exclusive lock; a second try, because is_locked() holds it for an instant."""
    for pause in (0.1, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(pause)
    return False


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, mode 600: readers see the old or the new."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
