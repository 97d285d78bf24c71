"""Daily tables: the shipped sample against pandas, and each kind of bad row in a made-up file."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.bars import UNKNOWN
from data.daily_stocks import closing_times, load_feed, sample_table
from data.door import Flaw
from data.errors import InputError


def ns(text: str) -> int:
    return int(pd.Timestamp(text, tz="America/New_York").value)


def test_sample_is_whole_sorted_and_free_of_flaws() -> None:
    feed = load_feed()
    assert feed.symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    assert len(feed.bars) == 12_154
    assert len(np.unique(feed.bars["ts"])) == 3_270
    assert feed.quarantined == ()
    keys = np.stack([feed.bars["symbol"], feed.bars["ts"]])
    order = np.lexsort(keys)
    assert np.array_equal(order, np.arange(len(order)))
    assert np.unique(keys, axis=1).shape[1] == 12_154
    assert (feed.bars["buy_volume"] == UNKNOWN).all()
    assert (feed.bars["bid"] == UNKNOWN).all()


def test_sample_prices_are_adjusted_and_quantised() -> None:
    feed = load_feed()
    raw = pd.read_csv(sample_table())
    raw.columns = [name.lower() for name in raw.columns]
    raw = raw.rename(columns={"adj_close": "adj close"})
    ticker = "symbol" if "symbol" in raw else "ticker"
    for number, symbol in enumerate(feed.symbols):
        ours = feed.bars[feed.bars["symbol"] == number]
        theirs = raw[raw[ticker] == symbol].sort_values("date")
        factor = (theirs["adj close"] / theirs["close"]).to_numpy()
        for name in ("open", "high", "low", "close"):
            exact = theirs[name].to_numpy() * factor * 1e4
            assert np.abs(ours[name] - exact).max() <= 0.5 + 1e-6
        # Dollar volume is kept, to half a share.
        exact = theirs["volume"].to_numpy() / factor
        assert np.abs(ours["volume"] - exact).max() <= 0.5 + 1e-6
    aapl = feed.bars[feed.bars["symbol"] == 0]
    theirs = raw[raw[ticker] == "AAPL"].sort_values("date")["adj close"]
    assert aapl["close"][0] == round(theirs.iloc[0] * 10_000)
    assert aapl["close"][-1] == round(theirs.iloc[-1] * 10_000)


def test_bars_are_stamped_at_the_close_of_their_day() -> None:
    feed = load_feed()
    stamps = set(feed.bars["ts"].tolist())
    assert int(feed.bars["ts"][0]) == ns("2000-03-01 16:00")
    assert ns("2009-11-27 13:00") in stamps  # the day after Thanksgiving closes early
    assert ns("2009-11-27 16:00") not in stamps
    assert ns("2009-07-01 16:00") in stamps
    local = pd.DatetimeIndex(sorted(stamps), tz="UTC").tz_convert("America/New_York")
    assert set(local.strftime("%H:%M")) == {"16:00", "13:00"}
    assert int((local.hour == 13).sum()) < 40


def test_closing_times_know_holidays() -> None:
    closes = closing_times(date(2010, 12, 20), date(2010, 12, 28))
    assert date(2010, 12, 24) not in closes  # Christmas was observed on the Friday
    assert date(2010, 12, 25) not in closes
    assert len(closes) == 6


GOOD = "AAA,2010-03-{:02},10,12,9,11,1000,11\n"
HEADER = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\n"


def write(folder: Path, *rows: str) -> Path:
    path = folder / "bars.csv"
    path.write_text(HEADER + "".join(rows))
    return path


def good(*days: int) -> list[str]:
    return [GOOD.format(day) for day in days]


BAD = {
    "not a number": ("AAA,2010-03-03,10,12,9,NaN,1000,11\n", Flaw.NOT_A_NUMBER),
    "text": ("AAA,2010-03-03,ten,12,9,11,1000,11\n", Flaw.NOT_A_NUMBER),
    "blank": ("AAA,2010-03-03,10,,9,11,1000,11\n", Flaw.NOT_A_NUMBER),
    "infinite": ("AAA,2010-03-03,10,inf,9,11,1000,11\n", Flaw.NOT_A_NUMBER),
    "negative price": ("AAA,2010-03-03,10,12,-9,11,1000,11\n", Flaw.NON_POSITIVE),
    "zero close": ("AAA,2010-03-03,10,12,9,0,1000,11\n", Flaw.NON_POSITIVE),
    "negative adjusted": ("AAA,2010-03-03,10,12,9,11,1000,-11\n", Flaw.NON_POSITIVE),
    "negative volume": ("AAA,2010-03-03,10,12,9,11,-5,11\n", Flaw.NEGATIVE_VOLUME),
    "crossed": ("AAA,2010-03-03,10,8,9,11,1000,11\n", Flaw.CROSSED),
    "duplicate": ("AAA,2010-03-02,10,12,9,11,1000,11\n", Flaw.DUPLICATE),
    "out of order": ("AAA,2010-03-01,10,12,9,11,1000,11\n", Flaw.OUT_OF_ORDER),
    "split": ("AAA,2010-03-03,5.5,6,4.5,5.5,1000,5.5\n", Flaw.JUMP),
    "weekend": ("AAA,2010-03-06,10,12,9,11,1000,11\n", Flaw.NOT_A_SESSION),
    "far future": ("AAA,9999-12-31,10,12,9,11,1000,11\n", Flaw.NOT_A_SESSION),
    "distant past": ("AAA,0001-01-01,10,12,9,11,1000,11\n", Flaw.NOT_A_SESSION),
    "no date": ("AAA,soon,10,12,9,11,1000,11\n", Flaw.NOT_A_SESSION),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_row_is_kept_out_with_its_reason(kind: str, tmp_path: Path) -> None:
    bad, flaw = BAD[kind]
    later = [row.replace("10,12,9,11", "5,6,4.5,5.5").replace(",11\n", ",5.5\n") for row in good(4)]
    after = later if kind == "split" else good(4)
    feed = load_feed(write(tmp_path, *good(2), bad, *after))
    assert [entry.flaw for entry in feed.quarantined] == [flaw]
    assert feed.quarantined[0].symbol == "AAA"
    assert len(feed.bars) == 2
    assert np.array_equal(feed.bars, load_feed(write(tmp_path, *good(2), *after)).bars)


def test_many_bad_rows_are_all_counted_and_dated_ones_lock_their_symbol(tmp_path: Path) -> None:
    rows = [*good(1, 2), *[bad for bad, _ in BAD.values()], "BBB,2010-03-02,1,1,1,1,5,1\n"]
    feed = load_feed(write(tmp_path, *rows))
    assert len(feed.quarantined) == len(BAD)
    assert len(feed.bars) == 3
    # Only a row whose date is a session has a moment.
    dated = [entry for entry in feed.quarantined if entry.flaw != Flaw.NOT_A_SESSION]
    assert len(feed.quarantined_at) == len(dated) == len(BAD) - 4
    assert (ns("2010-03-03 16:00"), 0) in feed.quarantined_at
    # A symbol of its own order: BBB is not hurt by AAA's rows.
    assert feed.bars["symbol"].tolist().count(1) == 1


def test_half_a_tick_price_is_not_a_price(tmp_path: Path) -> None:
    row = "AAA,2010-03-02,1,1,1,1,5,0.00004\n"
    feed = load_feed(write(tmp_path, row))
    assert [entry.flaw for entry in feed.quarantined] == [Flaw.NON_POSITIVE]


def test_content_hash_names_the_content(tmp_path: Path) -> None:
    one = load_feed(write(tmp_path, *good(2, 3)))
    assert load_feed(write(tmp_path, *good(2, 3))).content_hash == one.content_hash
    changed = good(2, 3)[1].replace("1000", "1001")
    assert load_feed(write(tmp_path, *good(2), changed)).content_hash != one.content_hash


def test_what_a_person_got_wrong_is_one_line(tmp_path: Path) -> None:
    cases: list[tuple[Path | None, tuple[str, ...], str]] = [
        (None, ("AAPL", "XXX"), "unknown symbol XXX: this data holds AAPL, FB, GOOG, IBM, MSFT"),
        (tmp_path / "absent.csv", (), "absent.csv: No such file"),
        (tmp_path, (), "Is a directory"),
    ]
    short = tmp_path / "short.csv"
    short.write_text("Ticker,Date,Open\nA,2010-03-02,1\n")
    cases.append((short, (), "lacks the column"))
    packed = tmp_path / "broken.csv.gz"
    packed.write_bytes(gzip.compress(b"Ticker")[:-4])
    cases.append((packed, (), "broken.csv.gz is not a CSV table"))
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    cases.append((empty, (), "empty.csv is not a CSV table"))
    for path, symbols, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            load_feed(path, symbols)
        assert "\n" not in str(caught.value)
