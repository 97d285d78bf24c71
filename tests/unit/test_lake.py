"""The lake: what a manifest names is read, nothing else, whatever a crash left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow.compute as pc
import pytest

from data.errors import InputError
from data.import_job import ImportOptions, ImportReport
from data.importing import import_files
from data.lake import (
    MANIFEST,
    Manifest,
    dataset,
    partition_unit,
    read_manifest,
    scan,
    table_names,
    verify_files,
)
from data.lake_feed import load_table
from data.lake_writer import clean, locked
from data.piece import Kind
from data.quality import CheckOptions, check

MINUTE = 60 * 10**9
START = 1_723_161_600 * 10**9  # 2024-08-09 00:00 UTC


def bars(folder: Path, first: int, count: int, name: str = "bars.csv", step: int = MINUTE,
         symbols: tuple[str, ...] = ("A", "B/C")) -> Path:  # fmt: skip
    """A CSV of flat minute bars stamped at their close, minutes ``first``.. of the day."""
    rows = [
        f"{START + (first + i) * step},{symbol},{up},{up + 2},9,{up + 1},{100 + i}\n"
        for i, up in ((i, 10 + i % 7) for i in range(count))
        for symbol in symbols
    ]
    path = folder / name
    path.write_text("ts,symbol,open,high,low,close,volume\n" + "".join(rows))
    return path


def load(lake: Path, path: Path, **changes: object) -> ImportReport:
    given = {"name": "t", "clock": "1m", "stamp": "close", "tick": Decimal("0.01"),
             "lot": Decimal(1)} | changes  # fmt: skip
    return import_files(lake, [path], ImportOptions(**given))  # type: ignore[arg-type]


def files(lake: Path) -> set[str]:
    return {str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file()}


def test_partitions_and_the_manifest(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 1430, 20))
    manifest = read_manifest(lake, "t")
    days = {Path(file.path).parts[:2] for file in manifest.files}
    assert days == {
        (f"symbol={name}", f"day=2024-08-{day}") for name in ("A", "B%2FC") for day in ("09", "10")
    }
    assert (manifest.kind, manifest.clock, manifest.stamp) == (Kind.BARS, "1m", "close")
    assert (manifest.rows, manifest.symbols) == (40, ["A", "B/C"])
    assert manifest.span == (START + 1430 * MINUTE, START + 1449 * MINUTE)
    assert files(lake) == {f"t/{file.path}" for file in manifest.files} | {
        "t/manifest.json", "t/.lock",
    }  # fmt: skip
    verify_files(lake, "t", manifest)
    assert table_names(lake) == ["t"]


def test_daily_tables_are_cut_by_year(tmp_path: Path) -> None:
    assert partition_unit(Kind.BARS, "1d") == partition_unit(Kind.BARS, "1h") == "year"
    assert partition_unit(Kind.BARS, "30m") == partition_unit(Kind.BARS, "tick:10") == "day"
    assert partition_unit(Kind.TRADES, "") == "day"
    path = bars(tmp_path, 1, 200, step=1440 * MINUTE)
    load(tmp_path / "lake", path, clock="1d")
    found = read_manifest(tmp_path / "lake", "t")
    assert {Path(file.path).parts[1] for file in found.files} == {"year=2024", "year=2025"}
    day = date(2024, 12, 31)
    rows = scan(tmp_path / "lake", "t").filter(pl.col("day") == day).collect()
    assert len(rows) == 2


def test_polars_and_pyarrow_scan_lazily_and_agree(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 1430, 20))
    lazy = scan(lake, "t")
    assert isinstance(lazy, pl.LazyFrame)
    chosen = lazy.filter(pl.col("symbol") == "B/C", pl.col("day") == date(2024, 8, 10))
    ours = chosen.sort("ts").collect()
    assert len(ours) == 10
    assert ours["ts"].dtype == pl.Datetime("ns", "UTC")
    assert ours["open"].dtype == pl.Int64
    assert ours["bid"].null_count() == 10
    table = dataset(lake, "t")
    where = (pc.field("symbol") == "B/C") & (pc.field("day") == date(2024, 8, 10))
    # Only the one file is opened.
    assert len(list(table.get_fragments(where))) == 1
    theirs = pl.from_arrow(table.to_table(filter=where)).sort("ts")  # type: ignore[union-attr]
    assert theirs.select(ours.columns).equals(ours)
    everything = pl.from_arrow(table.to_table()).sort("symbol", "ts")  # type: ignore[union-attr]
    assert everything.select(ours.columns).equals(lazy.sort("symbol", "ts").collect())
    assert scan(lake, "t", ["A"]).collect()["symbol"].unique().to_list() == ["A"]


def test_bars_come_back_as_they_went_in(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 30))
    feed = load_table(lake, "t", ())
    assert feed.symbols == ("A", "B/C")
    assert np.array_equal(np.lexsort((feed.bars["symbol"], feed.bars["ts"])), np.arange(60))
    first = feed.bars[0]
    assert (first["open"], first["high"], first["low"], first["close"]) == (1000, 1200, 900, 1100)
    assert (first["volume"], first["bid"], first["trades"]) == (100, -1, -1)
    assert (feed.tick, feed.lot, feed.clock) == (Decimal("0.01"), Decimal(1), "1m")
    assert (feed.bars_per_year, feed.currency) == (525_600, "USD")
    one = load_table(lake, "t", ("B/C",))
    assert np.array_equal(one.bars["close"], feed.bars["close"][feed.bars["symbol"] == 1])
    assert one.content_hash != feed.content_hash


def test_an_equal_import_changes_nothing_and_says_so(tmp_path: Path) -> None:
    lake, path = tmp_path / "lake", bars(tmp_path, 0, 30)
    load(lake, path)
    before = (lake / "t" / MANIFEST).read_bytes()
    report = load(lake, path)
    assert report.tables == []
    assert report.said == ["already in the lake, nothing to do: t"]
    assert (lake / "t" / MANIFEST).read_bytes() == before
    # Under another name of the file too: content counts.
    path.rename(tmp_path / "other.csv")
    assert load(lake, tmp_path / "other.csv").tables == []


def test_known_bars_are_duplicates_and_new_ones_are_added(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 30))
    report = load(lake, bars(tmp_path, 20, 30, "more.csv"))
    (made,) = report.tables
    assert made.added == 40
    assert made.quarantined == {"already_in_table": 20}
    assert read_manifest(lake, "t").rows == 100
    assert len(load_table(lake, "t", ()).bars) == 100
    assert len(np.unique(load_table(lake, "t", ()).bars[["ts", "symbol"]])) == 100
    # What the table holds anyway locks no symbol.
    assert load_table(lake, "t", ()).quarantined_at == ()
    earlier = load(lake, bars(tmp_path, -10, 10, "earlier.csv"))
    assert earlier.tables[0].added == 20
    assert int(load_table(lake, "t", ()).bars["ts"][0]) == START - 10 * MINUTE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clock": "5m"}, "table t has clock 1m, this import 5m"),
        ({"tick": Decimal("0.001")}, "table t has tick 0.01, this import 0.001"),
        ({"lot": Decimal("0.1")}, "table t has lot 1, this import 0.1"),
        ({"currency": "EUR"}, "table t has currency USD, this import EUR"),
    ],
)
def test_a_table_has_one_clock_tick_lot_and_currency(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 5))
    with pytest.raises(InputError, match=words) as caught:
        load(lake, bars(tmp_path, 100, 5, "more.csv"), **changes)
    assert "\n" not in str(caught.value)
    load(lake, bars(tmp_path, 100, 5, "more.csv"), replace=True, **changes)
    assert read_manifest(lake, "t").rows == 10


def test_a_jump_between_two_imports_is_found(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 5))
    text = f"{START + 9 * MINUTE},A,100,100,100,100,5\n{START + 10 * MINUTE},A,100,101,99,100,5\n"
    path = tmp_path / "next.csv"
    path.write_text("ts,symbol,open,high,low,close,volume\n" + text)
    (made,) = load(lake, path).tables
    assert made.quarantined == {"split_like_jump": 1}
    feed = load_table(lake, "t", ())
    assert feed.quarantined_at == ((START + 9 * MINUTE, 0),)


def test_a_refused_jump_is_refused_again_whatever_part_of_it_comes_later(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    rows = [f"{START + n * MINUTE},A,{p},{p},{p},{p},5\n" for n, p in enumerate([10, 10, 20, 20])]
    for first, last, refused in ((0, 3, {"split_like_jump": 1}), (2, 4, {"split_like_jump": 1})):
        path = tmp_path / f"{first}.csv"
        path.write_text("ts,symbol,open,high,low,close,volume\n" + "".join(rows[first:last]))
        (made,) = load(lake, path).tables
        assert made.quarantined == refused
    assert load_table(lake, "t", ()).bars["close"].tolist() == [1000, 1000, 2000]


KILLED = """
import os, signal, sys
from pathlib import Path
import data.table_import as step
from tests.unit.test_lake import load
def die(directory, manifest):
    os.kill(os.getpid(), signal.SIGKILL)
step.publish = die
load(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def kill_import(lake: Path, path: Path) -> None:
    """An import that is killed after its files and before its manifest."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(lake), str(path)],
        env={**os.environ, "PYTHONPATH": "."}, check=False, capture_output=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_a_killed_import_left_is_never_read_and_cleaned_by_the_next(tmp_path: Path) -> None:
    lake, first, more = tmp_path / "lake", bars(tmp_path, 0, 10), bars(tmp_path, 100, 10, "m.csv")
    kill_import(lake, first)
    assert any(name.endswith(".parquet") for name in files(lake))
    assert table_names(lake) == []
    with pytest.raises(InputError, match="'t' is neither a file nor a table"):
        read_manifest(lake, "t")
    load(lake, first)
    before, hash_before = files(lake), load_table(lake, "t", ()).content_hash
    kill_import(lake, more)
    assert files(lake) > before
    assert load_table(lake, "t", ()).content_hash == hash_before
    assert len(scan(lake, "t").collect()) == 20
    # The lock died with its holder; the next import takes up and sweeps.
    load(lake, bars(tmp_path, 200, 10, "third.csv"))
    assert read_manifest(lake, "t").rows == 40
    named = {f"t/{file.path}" for file in read_manifest(lake, "t").files}
    assert files(lake) == named | {"t/manifest.json", "t/.lock"}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with locked(lake, "t"), pytest.raises(InputError, match="is being written by another import"):
        load(lake, bars(tmp_path, 0, 5))
    load(lake, bars(tmp_path, 0, 5))


def test_a_missing_or_altered_file_is_one_line(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 10))
    entry = read_manifest(lake, "t").files[0]
    path = lake / "t" / entry.path
    blob = path.read_bytes()
    flipped = blob[:50] + bytes([blob[50] ^ 1]) + blob[51:]
    path.write_bytes(flipped)
    for what, words in (
        (lambda: load_table(lake, "t", ()), f"table t: {entry.path} was altered"),
        (lambda: (path.write_bytes(blob + b"x"), scan(lake, "t")), "bytes, not"),
        (lambda: (path.unlink(), read_manifest(lake, "t")), f"{entry.path} is missing"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            what()
        assert "\n" not in str(caught.value)
    load(lake, bars(tmp_path, 0, 10), replace=True)
    assert len(load_table(lake, "t", ()).bars) == 20


def test_a_damaged_or_newer_manifest_is_one_line(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    load(lake, bars(tmp_path, 0, 10))
    path = lake / "t" / MANIFEST
    newer = msgspec.structs.replace(read_manifest(lake, "t"), version=99)
    path.write_bytes(msgspec.json.encode(newer))
    with pytest.raises(InputError, match="has schema version 99, this program reads 1"):
        read_manifest(lake, "t")
    path.write_bytes(b'{"version": 1')
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        read_manifest(lake, "t")


def test_names_that_are_no_names(tmp_path: Path) -> None:
    for name in ("../evil", "a/b", "", ".hidden", "x" * 81, "ü"):
        with pytest.raises(InputError, match="use letters, digits"):
            read_manifest(tmp_path, name)
    load(tmp_path, bars(tmp_path, 0, 5))
    with pytest.raises(InputError, match=r"'nope' is neither a file nor a table .* holds t$"):
        read_manifest(tmp_path, "nope")


def test_cleaning_leaves_what_is_named(tmp_path: Path) -> None:
    load(tmp_path, bars(tmp_path, 0, 5))
    manifest: Manifest = read_manifest(tmp_path, "t")
    (tmp_path / "t" / "symbol=Z" / "day=2020-01-01").mkdir(parents=True)
    (tmp_path / "t" / "symbol=Z" / "day=2020-01-01" / "part-0.parquet").write_bytes(b"junk")
    assert clean(tmp_path / "t", manifest) == 1
    assert not (tmp_path / "t" / "symbol=Z").exists()
    verify_files(tmp_path, "t", manifest)


@pytest.mark.parametrize("which", ["files", "quarantine"])
def test_an_altered_file_is_neither_read_nor_added_to(tmp_path: Path, which: str) -> None:
    lake = tmp_path / "lake"
    path = bars(tmp_path, 0, 10)
    path.write_text(path.read_text() + f"{START + 99 * MINUTE},A,1,2,3,4,nan\n")
    load(lake, path)
    manifest = read_manifest(lake, "t")
    assert manifest.quarantine is not None
    entry = manifest.quarantine if which == "quarantine" else manifest.files[0]
    stored = lake / "t" / entry.path
    stored.write_bytes(b"x" * entry.size)
    for act in (
        lambda: load_table(lake, "t", ()),
        lambda: check(lake, "t", CheckOptions()),
        lambda: load(lake, bars(tmp_path, 20, 5, "more.csv")),
        lambda: load(lake, path),
    ):
        with pytest.raises(InputError, match=f"table t: {entry.path} was altered") as caught:
            act()
        assert "\n" not in str(caught.value)
    load(lake, path, replace=True)
    assert len(load_table(lake, "t", ()).bars) == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tick": "abc"}, "tick 'abc'"),
        ({"tick": "nan"}, "tick 'nan'"),
        ({"lot": "0"}, "lot '0'"),
        ({"lot": "1e400"}, "lot '1e400'"),
        ({"clock": "soon"}, "clock 'soon'"),
        ({"clock": ""}, "clock ''"),
    ],
)
def test_a_value_that_no_import_writes_is_one_line(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    load(tmp_path, bars(tmp_path, 0, 5))
    manifest = msgspec.structs.replace(read_manifest(tmp_path, "t"), **changes)
    (tmp_path / "t" / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(InputError, match=f"table t: manifest.json was altered .{words}"):
        read_manifest(tmp_path, "t")


@pytest.mark.parametrize("which", ["files", "quarantine"])
@pytest.mark.parametrize("outside", ["{lake}/secret.parquet", "../secret.parquet", ""])
def test_a_file_outside_its_table_is_refused(tmp_path: Path, which: str, outside: str) -> None:
    load(tmp_path, bars(tmp_path, 0, 5))
    manifest = read_manifest(tmp_path, "t")
    (tmp_path / "secret.parquet").write_bytes(
        (tmp_path / "t" / manifest.files[0].path).read_bytes()
    )
    entry = msgspec.structs.replace(manifest.files[0], path=outside.format(lake=tmp_path))
    changes = {"files": [entry]} if which == "files" else {"quarantine": entry}
    altered = msgspec.structs.replace(manifest, **changes)
    (tmp_path / "t" / MANIFEST).write_bytes(msgspec.json.encode(altered))
    with pytest.raises(InputError, match=r"manifest.json was altered .file "):
        read_manifest(tmp_path, "t")


def test_a_lake_below_a_directory_with_brackets(tmp_path: Path) -> None:
    """Such a name is a pattern to whoever looks for files by pattern."""
    lake = tmp_path / "a[1]*" / "lake"
    load(lake, bars(tmp_path, 0, 5))
    load(lake, bars(tmp_path, 3, 5, "more.csv"))
    assert len(load_table(lake, "t", ()).bars) == 16
    assert len(scan(lake, "t", ["A"]).filter(pl.col("day") == date(2024, 8, 9)).collect()) == 8
    assert read_manifest(lake, "t").quarantined == {"already_in_table": 4}
    assert check(lake, "t", CheckOptions()).flaws == {"already_in_table": 4}
