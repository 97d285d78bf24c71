"""The cloud trader's process: composes lease, journal, broker and session loop, then runs them.

``python -m cluster.trader_process FILE``: FILE is private and holds a TraderRequest (addresses
contain passwords). Exit code 0 when the session ended or was stopped in order, 1 when it failed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec


class TraderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the process needs. ``bars_path`` empty: no feed, the trader only stands ready."""

    session_id: str
    database_url: str
    redis_url: str
    coordinator_url: str
    port: int
    token: str = ""  # for the coordinator; whoever starts the trader fills it in
    bars_path: str = ""
    locks: list[tuple[int, int]] = []  # (ts, symbol) of quarantined bars
    dates_per_second: float = 0.0  # 0: as fast as it goes
    lease_ttl_s: float = 60.0
    answer_deadline_s: float = 120.0


def run(request: TraderRequest) -> int:
    """Runs until the feed ends or SIGTERM."""
    import numpy as np

    from cloud_trader.trader import build_trader

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bars = np.load(request.bars_path) if request.bars_path else None
    trader = build_trader(
        session_id=request.session_id,
        database_url=request.database_url,
        redis_url=request.redis_url,
        coordinator_url=request.coordinator_url,
        token=request.token,
        port=request.port,
        lease_ttl_s=request.lease_ttl_s,
        answer_deadline_s=request.answer_deadline_s,
    )
    with trader:
        if bars is None:
            stop.wait()
            trader.end("stopped", "no feed")
            return 0
        return trader.run(bars, request.locks, request.dates_per_second, stop)


def main() -> int:
    """Entry point of the process."""
    from cluster.log import configure

    configure(os.environ.get("LOG_LEVEL", "INFO"))
    return run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TraderRequest))


if __name__ == "__main__":
    sys.exit(main())
