"""Whether a cluster is still there: Tune would wait for ever, and Ray end the process at last."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

from ray.tune.stopper import Stopper

from tuning.study.failures import ClusterLost

# Without an answer from the cluster's head. After 60 s Ray would end this process itself.
LOST_S = 15.0
LOOK_S = 2.0
CONNECT_S = 3.0
GRACE_S = 10.0  # for Tune, or Ray, to come back from a call into a cluster that is gone


class Pulse(Stopper):
    """Looks from a thread whether the cluster's head can be reached; ends Tune's loop if not.

    Tune itself waits for results that cannot come. Where it stands in a call of Ray's that nothing
    can interrupt, the process ends, as Ray would have it end some time later without a word.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(CONNECT_S + LOOK_S)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            if listens(self._address):
                self._seen = time.monotonic()
            elif error := self.lost():
                leave_unless(self._ended, error)
                return

    def lost(self) -> ClusterLost | None:
        """What to say when the head has been away for too long; None while it is there."""
        silent = time.monotonic() - self._seen
        if silent < LOST_S:
            return None
        return ClusterLost(f"Ray at {self._address} has not answered for {silent:.0f} s")

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """No trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Asked by Tune at each turn of its loop; raises ClusterLost."""
        if error := self.lost():
            raise error
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its stopper to disk for a resume of its own, which nobody uses."""
        return {}


def leave_unless(ended: threading.Event, error: ClusterLost) -> None:
    """Ends this process after GRACE_S without ``ended``: what is durable stays, as at a kill."""
    if not ended.wait(GRACE_S):
        os.write(2, f"sapphire: {error}; the study is intact: resume it\n".encode())
        os._exit(1)


def listens(address: str) -> bool:
    """Whether something takes connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError:
        return False
    return True
