"""Data that are named by gs://: fetched once, read as a file, known by their address."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from cluster.plan import plan_session
from cluster.warm import generated_bars
from data.cloud_file import KEPT, fetched
from data.daily_stocks import sample_table
from data.errors import InputError
from data.feed import open_feed
from tests.gcs_server import Storage
from tests.study_support import content
from tuning.study.build import evaluation_of
from tuning.study.contract import Trial
from tuning.study.database import Sqlite
from tuning.study.store import StudyStore

ADDRESS = "gs://bucket/deep/folder/bars.parquet"
NAME = "deep/folder/bars.parquet"


def some_bars(path: Path, seed: int) -> bytes:
    """A Parquet file in the contract's columns."""
    bars = generated_bars(1, 900, seed)
    frame = pl.DataFrame(
        {
            "ts": pl.Series(bars["ts"]).cast(pl.Datetime("ns", "UTC")),
            "symbol": ["A"] * len(bars),
            **{name: bars[name] / 10_000 for name in ("open", "high", "low", "close")},
            "volume": bars["volume"],
        }
    )
    frame.write_parquet(path)
    return path.read_bytes()


def downloads(storage: Storage) -> int:
    return sum(line.startswith("GET /download/") for line in storage.log)


def test_an_object_is_the_feed_of_the_same_file(cloud: Storage, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    cloud.put("bucket", NAME, some_bars(path, 1))
    here, there = (open_feed(where, (), tmp_path / "lake") for where in (str(path), ADDRESS))
    assert (here.name, there.name) == ("bars.parquet", ADDRESS)
    assert there.content_hash == here.content_hash
    # What a session of this data belongs to does not depend on where the copy is kept.
    assert (there.group, there.tick, there.clock) == (here.group, here.tick, here.clock)
    assert plan_session(None, None, (), ADDRESS, 0, tmp_path / "lake").feed.name == ADDRESS


def test_daily_tables_are_told_by_their_suffix(cloud: Storage, tmp_path: Path) -> None:
    packed = sample_table().read_bytes()
    cloud.put("bucket", "daily.csv.gz", packed)
    cloud.put("bucket", "daily.csv", gzip.decompress(packed))
    hashes = {
        open_feed(source, ("IBM",), tmp_path / "lake").content_hash
        for source in (None, "gs://bucket/daily.csv.gz", "gs://bucket/daily.csv")
    }
    assert len(hashes) == 1


def test_an_object_is_fetched_once_for_each_of_its_contents(cloud: Storage, tmp_path: Path) -> None:
    cloud.put("bucket", NAME, b"one")
    first = fetched(ADDRESS, tmp_path)
    assert (fetched(ADDRESS, tmp_path), downloads(cloud)) == (first, 1)
    cloud.put("bucket", NAME, b"two")
    second = fetched(ADDRESS, tmp_path)
    assert (first.read_bytes(), second.read_bytes(), downloads(cloud)) == (b"one", b"two", 2)
    assert first.name == second.name == "bars.parquet"
    # Names that differ only in their folders have copies of their own.
    cloud.put("bucket", "other/bars.parquet", b"three")
    cloud.objects("bucket")["other/bars.parquet"].generation = cloud.generations - 1
    assert fetched("gs://bucket/other/bars.parquet", tmp_path).read_bytes() == b"three"


def test_of_an_object_that_keeps_changing_the_last_contents_are_kept(
    cloud: Storage, tmp_path: Path
) -> None:
    cloud.put("bucket", "other", b"other")
    other = fetched("gs://bucket/other", tmp_path)
    paths = []
    for number in range(KEPT + 2):
        cloud.put("bucket", NAME, b"%d" % number)
        paths.append(fetched(ADDRESS, tmp_path))
    for number in range(KEPT):
        cloud.put("bucket", NAME, b"damaged %d" % number)
        cloud.corruptions = 1
        with pytest.raises(InputError, match="its checksum differs"):
            fetched(ADDRESS, tmp_path)
    assert [path.is_file() for path in paths] == [False] * 2 + [True] * KEPT
    cloud.put("bucket", NAME, b"newest")
    assert fetched(ADDRESS, tmp_path).read_bytes() == b"newest"
    assert [path.is_file() for path in paths] == [False] * 3 + [True] * (KEPT - 1)
    assert other.is_file()


def test_what_came_in_part_or_damaged_does_not_count(cloud: Storage, tmp_path: Path) -> None:
    content = os.urandom(1_000)
    cloud.put("bucket", NAME, content)
    cloud.corruptions = 1
    with pytest.raises(InputError, match=f"{NAME}: what came is not what was sent") as caught:
        fetched(ADDRESS, tmp_path / "kept")
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []
    cloud.cuts = 2
    path = fetched(ADDRESS, tmp_path / "kept")
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_had_is_one_line(
    cloud: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("bucket", NAME, bytes(11))
    with pytest.raises(InputError, match="has 11 bytes, at most 10: cut it, or import it"):
        fetched(ADDRESS, tmp_path, most_bytes=10)
    assert downloads(cloud) == 0
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"{NAME} cannot be kept in {tmp_path}/file: Not a dir"):
        fetched(ADDRESS, tmp_path / "file")
    lake = tmp_path / "lake"
    for source, words in (
        ("gs://bucket/absent", "gs://bucket/absent: there is no such object"),
        ("gs://absent/x.csv", "gs://absent/x.csv: there is no such object"),
        ("gs://bucket", "write gs://BUCKET/OBJECT"),
        ("gs://bucket/", "write gs://BUCKET/OBJECT"),
        ("gs://bucket/deep/", "write gs://BUCKET/OBJECT"),
        ("gs://bucket/../x", "write gs://BUCKET/OBJECT"),
        (ADDRESS, f"{ADDRESS}: data file .* unknown format"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            open_feed(source, (), lake)
        assert "\n" not in str(caught.value)
    cloud.denied = True
    with pytest.raises(InputError, match=f"--data {ADDRESS}: access denied"):
        open_feed(ADDRESS, (), lake)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nosuch.json"))
    with pytest.raises(InputError, match="there are no Google credentials"):
        open_feed(ADDRESS, (), lake)


# -- the command line -----------------------------------------------------------------------

WORDS = ("--target", "ema_cross", "--trials", "4", "--searcher", "random", "--data", ADDRESS)
HERE = ("--executor", "here", "--no-report")


@pytest.fixture
def tune(tmp_path: Path, tune_in: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """Runs the command line in this process: (exit code, stderr)."""
    return partial(tune_in, tmp_path / "home")


def test_a_study_refuses_an_object_that_changed_since_it_began(
    tune: Callable[..., tuple[int, str]], cloud: Storage, tmp_path: Path
) -> None:
    old = some_bars(tmp_path / "bars.parquet", 5)
    cloud.put("bucket", NAME, old)
    assert tune("run", "far", *WORDS, *HERE)[0] == 0

    def stored() -> list[Trial]:
        kept = Sqlite(tmp_path / "home" / "studies" / "studies.db")
        try:
            assert evaluation_of(StudyStore(kept).spec("far")).data == ADDRESS
            return StudyStore(kept).trials("far")
        finally:
            kept.close()

    before = content(stored())
    assert len(before) == 4
    cloud.put("bucket", NAME, some_bars(tmp_path / "bars.parquet", 6))
    code, said = tune("resume", "far", *HERE)
    assert (code, said.count("\n")) == (2, 1)
    assert f"{ADDRESS} has changed since the study began" in said
    code, said = tune("run", "far", *WORDS, *HERE, "--resume-if-exists")
    assert (code, "have changed since it began" in said) == (2, True)
    # The same content again is another generation, and the same study.
    cloud.put("bucket", NAME, old)
    assert tune("resume", "far", *HERE)[0] == 0
    assert content(stored()) == before
