"""What status makes of a log and of Ray's list of actors."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from actors.contract import Status
from cluster.home import Home, Instance
from cluster.status_parts import Journal, _agent, _gate, disk_used, last_answers, look
from data.records import RoundOutput
from data.round_output import DECISION

AGENTS = ["one", "two", "three"]


def output(number: int, status: list[list[Status]]) -> RoundOutput:
    """A round with one row of statuses for each decision."""
    rows = len(status)
    return RoundOutput(
        session_id="s",
        cell=0,
        round=number,
        epoch=3,
        clock_ns=0,
        agents=AGENTS,
        widths=[0, 0, 0],
        table=np.zeros(rows, DECISION).tobytes(),
        votes=np.zeros((rows, 3, 3)).tobytes(),
        status=np.array(status, np.uint8).tobytes(),
        reason=np.zeros((rows, 3), np.uint8).tobytes(),
        evidence=b"",
        weights=[0.25] * 4,
        stepped=False,
        window={},
    )


def journal(*outputs: RoundOutput, holder: str = "host/42") -> Journal:
    last = outputs[0].round if outputs else 0
    return Journal(list(outputs), datetime.now(UTC), last, 3, holder)


def actor(state: str = "ALIVE", pid: int = 42) -> dict[str, object]:
    return {"name": "one.cell0@abc", "pid": pid, "state": state, "num_restarts": "1"}


def test_an_abstention_is_an_answer_and_a_miss_is_none() -> None:
    voted, abstained, late, failed = Status.VOTED, Status.ABSTAINED, Status.LATE, Status.FAILED
    outputs = [
        output(9, [[voted, late, failed]]),
        output(8, [[voted, late, failed], [voted, abstained, failed]]),
    ]
    assert last_answers(outputs) == {"one": 9, "two": 8}


def test_an_agent_behind_or_dead_is_not_healthy() -> None:
    assert _agent("one", actor(), {"one": 9}, 9).healthy
    behind = _agent("one", actor(), {"one": 7}, 9)
    assert not behind.healthy
    assert "2 behind" in behind.detail
    assert not _agent("one", actor(), {}, 9).healthy
    assert not _agent("one", actor("RESTARTING"), {"one": 9}, 9).healthy
    assert _agent("one", actor(), {}, 0).healthy  # no round yet: nothing can be behind


def test_a_gate_whose_epoch_another_holds_is_closed() -> None:
    log = journal(output(9, [[Status.VOTED] * 3]))
    assert _gate(actor(), log).healthy
    closed = _gate(actor(pid=43), log)
    assert not closed.healthy
    assert "closed: the epoch is held by host/42" in closed.detail
    # The pid's end alone is not the pid.
    assert not _gate(actor(pid=2), log).healthy
    assert not _gate(actor(), None).healthy


def test_the_disk_counts_what_files_take(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 100_000)
    assert 100_000 <= disk_used(tmp_path) < 150_000


def test_nothing_looks_healthy_when_nothing_answers(tmp_path: Path) -> None:
    closed = "http://127.0.0.1:1"
    addresses = {
        "database": "postgresql://nobody@127.0.0.1:1/none",
        "redis": "redis://127.0.0.1:1/0",
        "dashboard": closed,
        "coordinator": closed,
        "trader": closed,
    }
    parts = look(Home(tmp_path), Instance(pid=1, instance_id="i", addresses=addresses))
    healthy = [part.name for part in parts if part.healthy]
    assert healthy == ["restarts"]
