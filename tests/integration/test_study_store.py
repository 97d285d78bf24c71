"""Studies at rest: the same on PostgreSQL, on SQLite and in a directory of objects."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.errors import InputError
from tests.study_support import content, toy_spec
from tests.support import House, migrated
from tuning.study.bucket import BucketStore, open_storage
from tuning.study.contract import COMPLETE, FAILED, PRUNED, Trial
from tuning.study.database import Database, DatabaseError, Postgres, Sqlite
from tuning.study.store import FINISHED, RESUMED, StudyStore

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
Open = Callable[[], Database]


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


@pytest.fixture(params=["postgres", "sqlite"])
def connect_to(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more connection to the same database."""
    with ExitStack() as stack:
        if request.param == "postgres":
            url = request.getfixturevalue("house").roles.ops

        def opened() -> Database:
            made: Database
            made = Sqlite(tmp_path / "s.db") if request.param == "sqlite" else Postgres(url)
            stack.callback(made.close)
            return made

        yield opened


def odd_trials(first: int = 0) -> list[Trial]:
    """Trials with every kind of number that may stand in one."""
    subnormal = np.array([0.1, -0.0, 5e-45, np.nan, -np.inf], np.float32)
    return [
        Trial(
            first,
            0,
            {"x": 0.1 + 0.2, "k": 3, "rule": "b", "y": 5e-324},
            COMPLETE,
            (1 / 3, -0.0),
            ((math.nan, math.inf), (-math.inf, 1e300)),
            subnormal,
            seconds=0.1,
        ),
        Trial(first + 1, 0, {"rule": "ä 'quoted' %s"}, FAILED, error='x is "too" large: é'),
        Trial(first + 2, 1, {"k": 1}, PRUNED, folds=((0.5, math.nan),)),
    ]


def seconds(trials: list[Trial]) -> list[float]:
    return [trial.seconds for trial in trials]


def test_trials_come_back_bit_for_bit_and_in_order(connect_to: Open) -> None:
    store = StudyStore(connect_to())
    store.create(toy_spec())
    trials = odd_trials()
    store.save("toy", trials[1:])
    store.save("toy", trials[:1])
    other = StudyStore(connect_to())
    assert content(other.trials("toy")) == content(trials)
    assert [trial.number for trial in other.trials("toy")] == [0, 1, 2]
    assert seconds(other.trials("toy")) == seconds(trials)
    assert other.trials("toy")[0].returns.dtype == np.float32
    assert other.spec("toy") == toy_spec()


def test_a_trial_that_is_stored_stays_as_it_is(connect_to: Open) -> None:
    store = StudyStore(connect_to())
    store.create(toy_spec())
    trials = odd_trials()
    store.save("toy", trials)
    store.save("toy", [Trial(0, 9, {"x": 0.9}, FAILED, error="later"), *odd_trials(3)])
    assert content(store.trials("toy")) == content([*trials, *odd_trials(3)])
    store.save("toy", [])


def test_a_save_stands_whole_or_not_at_all(connect_to: Open) -> None:
    store = StudyStore(connect_to())
    store.create(toy_spec())
    with pytest.raises(DatabaseError):
        store.save("toy", [*odd_trials(), Trial(7, 0, {}, "lost")])  # no such status
    assert store.trials("toy") == []
    with pytest.raises(DatabaseError):
        store.save("nobody", odd_trials())
    store.save("toy", odd_trials())
    assert len(store.trials("toy")) == 3


def test_names_taken_unknown_and_malformed_are_one_line(connect_to: Open) -> None:
    store = StudyStore(connect_to())
    with pytest.raises(InputError, match=r"no study is called 'toy' .*there is none yet"):
        store.spec("toy")
    store.create(toy_spec())
    with pytest.raises(InputError, match="'sapphire tune resume toy' goes on with it") as caught:
        StudyStore(connect_to()).create(toy_spec(trials=5))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no study is called 'other' .*there are toy"):
        store.spec("other")
    for name in ("", "A", "-a", "a-", "a b", "a" * 49, "ä", "a_b"):
        with pytest.raises(InputError, match="study name"):
            store.create(toy_spec(name=name))
    assert store.exists("toy")
    assert not store.exists("other")


def test_events_and_the_listing(connect_to: Open) -> None:
    moments = iter(range(100, 200))
    store = StudyStore(connect_to(), lambda: next(moments))
    store.create(toy_spec(name="b"))
    store.create(toy_spec(name="a"))
    store.save("b", odd_trials())
    store.note("b", RESUMED, {"trials": 3})
    store.note("b", FINISHED, {"trials": 40, "text": "é"})
    rows = StudyStore(connect_to()).listing()
    assert [(row.spec.name, row.trials, row.complete, row.finished) for row in rows] == [
        ("b", 3, 1, True),
        ("a", 0, 0, False),
    ]
    events = store.events("b")
    assert [(event.kind, event.at_ns) for event in events] == [(RESUMED, 102), (FINISHED, 103)]
    assert store.events("b", FINISHED)[0].detail == {"trials": 40, "text": "é"}
    assert store.events("a") == []


def test_two_writers_at_once_lose_nothing(connect_to: Open, tmp_path: Path) -> None:
    StudyStore(connect_to()).create(toy_spec())
    errors: list[BaseException] = []
    gate = threading.Barrier(2)

    def write() -> None:
        kept = connect_to() if isinstance(first, Postgres) else Sqlite(tmp_path / "s.db")
        try:
            store = StudyStore(kept)
            gate.wait(10)
            for number in range(0, 90, 3):
                store.save("toy", odd_trials(number))
                store.note("toy", RESUMED, {"trials": number})
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)
        finally:
            kept.close()

    first = connect_to()
    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    store = StudyStore(first)
    assert [trial.number for trial in store.trials("toy")] == list(range(90))
    assert len(store.events("toy")) == 60


def test_the_reading_role_reads_and_cannot_write(house: House) -> None:
    ops, read = Postgres(house.roles.ops), Postgres(house.roles.read)
    try:
        StudyStore(ops).create(toy_spec())
        reader = StudyStore(read)
        assert reader.spec("toy") == toy_spec()
        for write in (
            lambda: reader.create(toy_spec(name="other")),
            lambda: reader.save("toy", odd_trials()),
            lambda: reader.note("toy", FINISHED, {}),
        ):
            with pytest.raises(DatabaseError, match="permission denied"):
                write()
        with pytest.raises(DatabaseError, match="permission denied"):
            ops.execute("DELETE FROM study")
        assert [row.trials for row in StudyStore(ops).listing()] == [0]
    finally:
        ops.close()
        read.close()


# -- objects --------------------------------------------------------------------------------

REOPEN = """
import sys
from contextlib import ExitStack
from tests.study_support import content
from tuning.study.bucket import open_storage
with ExitStack() as stack:
    store = open_storage(sys.argv[1], stack)
    print(repr((content(store.trials("toy")), [e.kind for e in store.events("toy")])))
"""


@pytest.fixture(params=["path", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    folder = tmp_path / "bucket"
    return str(folder) if request.param == "path" else folder.as_uri()


def _filled(storage: str, stack: ExitStack) -> BucketStore:
    store = open_storage(storage, stack)
    store.create(toy_spec())
    store.save("toy", odd_trials())
    store.note("toy", RESUMED, {"trials": 3})
    return store


def test_a_fresh_process_reads_the_same_objects(storage: str) -> None:
    with ExitStack() as stack:
        store = _filled(storage, stack)
        expected = repr((content(store.trials("toy")), [RESUMED]))
    answer = subprocess.run(
        [sys.executable, "-c", REOPEN, storage],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == expected


def _objects(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_writes_that_are_repeated_change_no_object(storage: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        store = _filled(storage, stack)
        before = _objects(tmp_path / "bucket")
        assert len(before) == 3
        store.save("toy", odd_trials())
        with pytest.raises(InputError, match="called 'toy' already"):
            store.create(toy_spec(trials=5))
        assert _objects(tmp_path / "bucket") == before
        assert store.spec("toy") == toy_spec()


def test_a_half_written_object_is_as_if_it_were_not_there(storage: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        _filled(storage, stack)
    half = tmp_path / "bucket" / "toy" / "trials" / "000000003-0123456789abcdef.part"
    half.write_bytes(b"\x93\x01")
    with ExitStack() as stack:
        store = open_storage(storage, stack)
        assert content(store.trials("toy")) == content(odd_trials())
        store.save("toy", odd_trials(3))
    with ExitStack() as stack:
        assert len(open_storage(storage, stack).trials("toy")) == 6


def test_a_storage_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with ExitStack() as stack:
        with pytest.raises(InputError, match="--storage") as caught:
            open_storage("nowhere://bucket/x", stack)
        assert "\n" not in str(caught.value)
        with pytest.raises((InputError, DatabaseError), match="file") as caught:
            open_storage(str(tmp_path / "file" / "studies"), stack).create(toy_spec())
        assert "\n" not in str(caught.value)
