"""Studies by the command line whose driver is killed with SIGKILL, gone on with, and compared."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.processes import wait_until
from tests.study_support import content
from tuning.study.contract import Trial
from tuning.study.database import Sqlite
from tuning.study.searchers import best_of
from tuning.study.store import StudyStore

ROOT = Path(__file__).resolve().parent.parent
NAME = "killed"
COMMAND_S = 240.0  # for one command to end
ORPHANS_S = 120.0  # for Ray's processes to follow their driver: its agents take a minute
LOOK_S = 0.002


@dataclass(frozen=True)
class Kill:
    """When the driver dies: so many seconds after so many trials, or after its start."""

    trials: int | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        since = "its start" if self.trials is None else f"{self.trials} trials"
        return f"{1e3 * self.seconds:.1f} ms after {since}"


@dataclass(frozen=True)
class Row:
    """What came of one kill."""

    searcher: str
    executor: str
    moment: str
    durable: int  # trials, when the driver was dead
    equal: bool  # all trials and the winner, after resume

    def cells(self) -> str:
        """A line of a Markdown table."""
        same = "yes" if self.equal else "NO"
        return f"| {self.searcher} | {self.executor} | {self.moment} | {self.durable} | {same} |"


HEAD = "| searcher | executor | driver killed | durable then | equal |\n|---|---|---|---|---|"


def database(home: Path) -> Path:
    """The SQLite file of a home."""
    return home / "studies" / "studies.db"


def durable(home: Path) -> int:
    """How many trials stand in the file; 0 while there is no file or table."""
    with contextlib.suppress(sqlite3.Error):
        link = sqlite3.connect(f"file:{database(home)}?mode=ro", uri=True)
        try:
            return int(link.execute("SELECT count(*) FROM study_trial").fetchone()[0])
        finally:
            link.close()
    return 0


def begun(home: Path) -> bool:
    """Whether the study is on record."""
    with contextlib.suppress(sqlite3.Error):
        link = sqlite3.connect(f"file:{database(home)}?mode=ro", uri=True)
        try:
            return bool(link.execute("SELECT 1 FROM study").fetchall())
        finally:
            link.close()
    return False


def start(home: Path, *words: str) -> subprocess.Popen[bytes]:
    """``sapphire tune WORDS`` in a session of its own; output.log and errors.log of the home take
    what it says.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "output.log").open("ab") as out, (home / "errors.log").open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "tune", *words],
            cwd=ROOT,
            env={**os.environ, "SAPPHIRE_HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def finish(home: Path, *words: str) -> None:
    """Runs the command to its end, which must be a good one."""
    process = start(home, *words)
    code = process.wait(COMMAND_S)
    assert code == 0, (home / "errors.log").read_text()[-2_000:]


def run_words(searcher: str, executor: str, trials: int) -> list[str]:
    """The words of a new study; of SEARCHER+SCHEDULER with one."""
    name, _, scheduler = searcher.partition("+")
    return [
        "run", NAME, "--target", "ema_cross", "--trials", str(trials), "--searcher", name,
        "--scheduler", scheduler or "none", *(("--option", "points=20") if name == "grid" else ()),
        "--executor", executor, "--workers", "2", "--no-report",
    ]  # fmt: skip


def trials_of(home: Path) -> list[Trial]:
    """All stored trials."""
    kept = Sqlite(database(home))
    try:
        return StudyStore(kept).trials(NAME)
    finally:
        kept.close()


def undisturbed(home: Path, searcher: str, trials: int) -> list[Trial]:
    """The trials of a study that nobody kills."""
    finish(home, *run_words(searcher, "here", trials))
    return trials_of(home)


def killed(
    home: Path,
    searcher: str,
    executor: str,
    kill: Kill,
    whole: list[Trial],
    family: set[psutil.Process],
) -> Row:
    """Begins the study, kills its driver, goes on with it, compares with ``whole``.

    ``family`` takes the driver's processes, for ``orphans``.
    """
    process = start(home, *run_words(searcher, executor, len(whole)))
    began = time.monotonic()
    look = _family(process.pid, family)
    due = _due(home, kill, began)
    while process.poll() is None and not due():
        look()
        time.sleep(LOOK_S)
    # Held at that moment, so that to look, which takes a while, does not move it.
    process.send_signal(signal.SIGSTOP)
    look(now=True)
    process.kill()
    process.wait(10.0)
    reached = durable(home)
    # Killed before the study was on record there is nothing to resume: it is begun.
    if begun(home):
        finish(home, "resume", NAME, "--executor", executor, "--workers", "2", "--no-report")
    else:
        finish(home, *run_words(searcher, executor, len(whole)))
    trials = trials_of(home)
    equal = content(trials) == content(whole) and _winner(trials) == _winner(whole)
    return Row(searcher, executor, str(kill), reached, equal)


def _due(home: Path, kill: Kill, began: float) -> Callable[[], bool]:
    since = began if kill.trials is None else None

    def due() -> bool:
        nonlocal since
        if since is None and begun(home) and durable(home) >= (kill.trials or 0):
            since = time.monotonic()
        return since is not None and time.monotonic() - since >= kill.seconds

    return due


def _family(pid: int, family: set[psutil.Process]) -> Callable[..., None]:
    """Collects the driver's children now and then: after its death nothing says whose they were."""
    last = [0.0]

    def look(*, now: bool = False) -> None:
        if now or time.monotonic() - last[0] >= 0.25:
            last[0] = time.monotonic()
            with contextlib.suppress(psutil.Error):
                family.update(psutil.Process(pid).children(recursive=True))

    return look


def orphans(family: set[psutil.Process]) -> list[str]:
    """Waits for dead drivers' processes to go; ends by pid what stays, and gives its names."""
    _, left = psutil.wait_procs(list(family), timeout=ORPHANS_S)
    alive = [each for each in left if _alive(each)]
    names = [each.name() for each in alive]
    for each in alive:
        with contextlib.suppress(psutil.Error):
            each.kill()
    wait_until(lambda: not any(_alive(each) for each in alive), 10.0, "the orphans' end")
    return names


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _winner(trials: list[Trial]) -> tuple[int, object] | None:
    best = best_of(trials, ["sharpe"])
    return None if best is None else (best.number, best.config)


def moment(rng: random.Random, whole: list[Trial]) -> Kill:
    """A random moment of the study ``whole``, in its midst on a machine of any speed: after a trial
    before its last two generations, by up to the time that one generation was evaluated in."""
    generations = whole[-1].generation + 1
    latest = sum(trial.generation < generations - 2 for trial in whole)
    seconds = sum(trial.seconds for trial in whole) / generations
    return Kill(rng.randint(1, latest), rng.uniform(0.0, seconds))
