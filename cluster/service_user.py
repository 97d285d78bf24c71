"""How to run a server that refuses to be root, when we are root.

In place, by a user namespace in which we appear as ``nobody`` (files keep their owner and mode);
where namespaces are forbidden (most containers), by dropping to ``nobody`` for real, whose
directories must then be handed over and reachable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError

NOBODY = 65534


@dataclass(frozen=True)
class ServiceUser:
    """``prefix``: words before the command. ``user``: uid to drop to, or None to stay."""

    prefix: tuple[str, ...] = ()
    user: int | None = None

    def hand_over(self, directory: Path) -> None:
        """Make ``directory`` (and what is in it) the service user's, if that is another one."""
        if self.user is None:
            return
        for root, _, files in os.walk(directory):
            os.chown(root, self.user, self.user)
            for name in files:
                os.chown(os.path.join(root, name), self.user, self.user, follow_symlinks=False)

    def let_through(self, directory: Path) -> None:
        """Let the service user pass through a private ``directory`` of ours, without listing it."""
        if self.user is not None:
            directory.chmod(0o711)

    def check_reach(self, path: Path) -> None:
        """Raise :class:`InputError` when the service user cannot get to ``path``."""
        if self.user is None:
            return
        reached = subprocess.run(
            ["/usr/bin/test", "-e", str(path)],
            user=self.user,
            group=self.user,
            extra_groups=[],
            timeout=10,
            check=False,
        )
        if reached.returncode:
            raise InputError(
                f"{path}: PostgreSQL refuses to run as root, user namespaces are forbidden here, "
                "and user nobody cannot reach this path; run sapphire as a normal user"
            )


def namespace_prefix() -> tuple[str, ...] | None:
    """The words that run a command as ``nobody`` in place; ``None`` where that is forbidden."""
    unshare = shutil.which("unshare", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    tried = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
    return prefix if tried.returncode == 0 else None


def service_user() -> ServiceUser:
    """The right way for the user we are."""
    if os.geteuid() != 0:
        return ServiceUser()
    prefix = namespace_prefix()
    return ServiceUser(prefix=prefix) if prefix else ServiceUser(user=NOBODY)
