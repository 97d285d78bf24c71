"""Studies in a bucket: two drivers at once, drivers that die, and the command line over gs://."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from data.errors import InputError
from tests.gcs_server import Storage
from tests.study_support import content, toy_spec
from tuning.study.api import agreed
from tuning.study.bucket import BucketStore, open_storage
from tuning.study.contract import COMPLETE, Trial
from tuning.study.database import DatabaseError, Sqlite
from tuning.study.store import FINISHED, RESUMED, StudyStore

ROOT = Path(__file__).resolve().parents[2]
WHERE = "gs://bucket/studies"


Open = Callable[[], BucketStore]


@pytest.fixture(params=["directory", "bucket"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same storage for one driver more."""
    if request.param == "bucket":
        request.getfixturevalue("cloud")
    where = WHERE if request.param == "bucket" else str(tmp_path / "studies")
    with ExitStack() as stack:
        yield lambda: open_storage(where, stack)


def some_trials(first: int, count: int, seconds: float = 0.0) -> list[Trial]:
    return [
        Trial(number, 0, {"x": number / 7}, COMPLETE, (number / 3,), seconds=seconds)
        for number in range(first, first + count)
    ]


def test_of_two_drivers_that_begin_a_study_one_does(opened: Open) -> None:
    one, other = opened(), opened()
    one.create(toy_spec())
    for seed in (3, 4):  # the same study, and another one of its name
        with pytest.raises(InputError, match=r"called 'toy' already .*resume toy --storage "):
            other.create(toy_spec(seed=seed))
    assert other.spec("toy") == one.spec("toy") == toy_spec()
    assert opened().spec("toy") == toy_spec()


def test_a_driver_that_comes_second_goes_on_with_the_study_where_told_to(opened: Open) -> None:
    one, other = opened(), opened()
    one.create(toy_spec())
    one.save("toy", some_trials(0, 5))
    assert agreed(other, toy_spec()) == toy_spec()
    assert content(other.trials("toy")) == content(one.trials("toy"))
    third = opened()
    with pytest.raises(InputError, match=r"is another one \(seed differ\)"):
        agreed(third, toy_spec(seed=4))


def test_creators_that_meet_at_the_bucket(cloud: Storage) -> None:
    gate = threading.Barrier(2)
    cloud.before_create = lambda name: (gate.wait(20), None)[1]
    said: list[str] = []

    def begin() -> None:
        with ExitStack() as stack:
            store = open_storage(WHERE, stack)
            try:
                store.create(toy_spec())
                said.append("begun")
            except InputError as error:
                said.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said) == 2
    assert said.count("begun") == 1
    assert f"a study is called 'toy' already ({WHERE})" in max(said, key=len)
    assert list(cloud.objects("bucket")) == ["studies/toy/spec.json"]


def test_a_beginning_whose_answer_is_lost_is_ones_own(cloud: Storage) -> None:
    with ExitStack() as stack:
        cloud.losses = 1
        open_storage(WHERE, stack).create(toy_spec())
        assert open_storage(WHERE, stack).spec("toy") == toy_spec()


def test_two_drivers_of_one_study_leave_one_value_a_trial(opened: Open) -> None:
    one = opened()
    one.create(toy_spec())
    other = opened()
    for store, steps, seconds in ((one, (4, 8), 1.0), (other, (3, 5, 4), 2.0)):
        first = 0
        for step in steps:
            store.save("toy", some_trials(first, step, seconds))
            store.note("toy", RESUMED, {"trials": first})
            first += step
        store.note("toy", FINISHED, {"trials": 12})
    found = opened()
    assert content(found.trials("toy")) == content(some_trials(0, 12))
    again = opened()
    assert [trial.seconds for trial in again.trials("toy")] == [
        trial.seconds for trial in found.trials("toy")
    ]
    kinds = [(event.kind, event.detail["trials"]) for event in found.events("toy")]
    assert set(kinds) == {(RESUMED, 0), (RESUMED, 3), (RESUMED, 4), (RESUMED, 8), (FINISHED, 12)}
    assert kinds == [(event.kind, event.detail["trials"]) for event in again.events("toy")]
    assert [(row.trials, row.finished) for row in found.listing()] == [(12, True)]


def test_many_objects_come_back_in_their_order(opened: Open) -> None:
    store = opened()
    store.create(toy_spec())
    for first in range(0, 210, 3):
        store.save("toy", some_trials(first, 3))
        store.note("toy", RESUMED, {"trials": first})
    found = opened()
    assert content(found.trials("toy")) == content(some_trials(0, 210))
    assert [event.detail["trials"] for event in found.events("toy")] == list(range(0, 210, 3))


def test_what_is_no_object_of_a_study_is_left_alone(opened: Open) -> None:
    store = opened()
    store.create(toy_spec())
    for name in ("readme", "x/other.json", "toy/spec.json.old", "deep/toy/spec.json"):
        assert store._objects.put_new(name, b"foreign")
    assert [row.spec.name for row in opened().listing()] == ["toy"]


@pytest.mark.parametrize(
    ("name", "blob"),
    [
        ("toy/spec.json", b"{}"),
        ("toy/spec.json", b'{"na'),
        ("toy/trials/000000000-0", b"\xc1"),
        ("toy/trials/000000000-0", b"\x91\x80"),
        ("toy/events/000000-0", b"[]"),
    ],
)
def test_a_damaged_object_is_named(opened: Open, name: str, blob: bytes) -> None:
    store = opened()
    if "spec" not in name:
        store.create(toy_spec())
    store._objects.put_new(name, blob)
    with pytest.raises(InputError, match=f"{name} is no object of this study") as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_a_study_under_another_name_or_without_its_spec_is_an_error(opened: Open) -> None:
    store = opened()
    store.create(toy_spec())
    copied = store._objects.get("toy/spec.json")
    store._objects.put_new("lost/trials/000000000-0", b"\x90")
    with pytest.raises(InputError, match=r"lost/spec\.json"):
        opened()
    store._objects.put_new("lost/spec.json", copied)
    with pytest.raises(InputError, match=r"lost/spec\.json .*it names toy"):
        opened()


def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "toy"
    folder.mkdir(parents=True)
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("whoever runs this may read everything")
        with ExitStack() as stack, pytest.raises(InputError, match="toy: Permission denied"):
            open_storage(str(tmp_path / "studies"), stack)
    finally:
        folder.chmod(0o700)


def test_a_bucket_that_cannot_be_is_one_line(cloud: Storage) -> None:
    with ExitStack() as stack:
        with pytest.raises(InputError, match=r"--storage gs://absent/x: gs://absent/x: .*bucket"):
            open_storage("gs://absent/x", stack)
        store = open_storage(WHERE, stack)
        store.create(toy_spec())
        cloud.denied = True
        with pytest.raises(InputError, match="access denied"):
            open_storage(WHERE, stack)
        for write in (
            lambda: store.create(toy_spec(name="other")),
            lambda: store.save("toy", some_trials(0, 1)),
            lambda: store.note("toy", RESUMED, {}),
        ):
            with pytest.raises(DatabaseError, match="access denied"):
                write()
        # What the bucket has not taken does not count.
        assert (store.trials("toy"), store.events("toy"), store.exists("other")) == ([], [], False)


# -- the command line -----------------------------------------------------------------------

EMA = (
    "--target", "ema_cross", "--searcher", "random", "--trials", "24", "--generation", "4",
    "--executor", "here", "--no-report",
)  # fmt: skip
Tune = Callable[..., tuple[int, str]]


@pytest.fixture
def tune(tmp_path: Path, tune_in: Tune) -> Tune:
    """Runs the command line in this process, each call in a home of its own: (code, stderr)."""
    homes = itertools.count()
    return lambda *words: tune_in(tmp_path / f"home-{next(homes)}", *words)


def undisturbed(tune: Tune, home: Path) -> list[Trial]:
    """The study's trials where nobody disturbs it and no bucket is in it."""
    assert tune("run", "cloudy", *EMA)[0] == 0
    kept = Sqlite(home / "studies" / "studies.db")
    try:
        return StudyStore(kept).trials("cloudy")
    finally:
        kept.close()


def kept_trials() -> list[Trial]:
    with ExitStack() as stack:
        return open_storage(WHERE, stack).trials("cloudy")


def at_trials(storage: Storage, count: int, act: Callable[[], None]) -> None:
    """Calls ``act`` when so many objects of trials are there and the next one comes."""

    def look(name: str) -> None:
        made = [each for each in storage.objects("bucket") if "/trials/" in each]
        if "/trials/" in name and len(made) == count:
            act()

    storage.before_create = look


def test_a_study_in_a_bucket_that_is_closed_to_its_driver(
    tune: Tune, cloud: Storage, tmp_path: Path
) -> None:
    whole = undisturbed(tune, tmp_path / "home-0")

    def close() -> None:
        cloud.denied = True

    at_trials(cloud, 2, close)
    code, said = tune("run", "cloudy", *EMA, "--storage", WHERE)
    assert (code, said.count("\n")) == (1, 1), said
    assert "access denied" in said
    cloud.before_create, cloud.denied = (lambda _: None), False
    assert 0 < len(kept_trials()) < len(whole)
    again = tune("run", "cloudy", *EMA, "--storage", WHERE)
    assert again[0] == 2
    assert "a study is called 'cloudy' already" in again[1]
    assert tune("run", "cloudy", *EMA, "--storage", WHERE, "--resume-if-exists")[0] == 0
    assert content(kept_trials()) == content(whole)
    objects = dict(cloud.objects("bucket"))
    assert tune("show", "cloudy", "--no-report", "--storage", WHERE)[0] == 0
    assert tune("list", "--storage", WHERE)[0] == 0
    assert cloud.objects("bucket") == objects


def test_a_driver_that_is_killed_and_followed_by_another(
    tune: Tune, cloud: Storage, tmp_path: Path
) -> None:
    whole = undisturbed(tune, tmp_path / "home-0")
    words = [sys.executable, "-m", "cluster.cli", "tune", "run", "cloudy", *EMA]
    driver: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        driver[0].kill()

    at_trials(cloud, 3, kill)
    with (tmp_path / "driver.log").open("wb") as log:
        driver.append(
            subprocess.Popen(
                [*words, "--storage", WHERE],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "SAPPHIRE_HOME": str(tmp_path / "far")},
                stdout=log,
                stderr=log,
            )
        )
        try:
            assert driver[0].wait(100) == -9, (tmp_path / "driver.log").read_text()
        finally:
            driver[0].kill()
    cloud.before_create = lambda _: None
    assert 0 < len(kept_trials()) < len(whole)
    assert tune("resume", "cloudy", "--executor", "here", "--no-report", "--storage", WHERE)[0] == 0
    assert content(kept_trials()) == content(whole)
