"""The national best bid and offer: by hand, and against plain Python on a recorded day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.recordings import equity_quotes
from data.nbbo import Counts, Feed, NbboBook, consolidate, consolidate_sessions, is_national
from data.ticks import NBBO, QUOTE

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def quotes(*rows):
    """Rows of (ts, exchange, bid, bid_size, ask, ask_size)."""
    return np.array(list(rows), QUOTE)


def test_best_price_and_the_sizes_there():
    rows = quotes(
        (1, 0, 10, 5, 12, 6),
        (2, 1, 10, 7, 13, 1),  # joins the bid
        (3, 2, 9, 9, 12, 4),  # joins the ask
        (4, 1, 11, 2, 0, 0),  # betters the bid alone
        (5, 2, 9, 8, 0, 0),  # below the best: no change
        (6, 1, 11, 0, 0, 0),  # withdraws it
        (7, 0, 10, 0, 12, 0),
    )
    best, counts = consolidate(rows, 3)
    assert best.tolist() == [
        (1, 10, 5, 12, 6),
        (2, 10, 12, 12, 6),
        (3, 10, 12, 12, 10),
        (4, 11, 2, 12, 10),
        (6, 10, 5, 12, 10),
        (7, 9, 8, 12, 4),
    ]
    assert counts == Counts(0, 0, 0, 0)


def test_a_crossed_market_is_unknown_while_it_lasts_and_a_locked_one_stands():
    rows = quotes(
        (10, 0, 10, 1, 12, 1),
        (20, 1, 13, 1, 0, 0),  # crosses
        (25, 1, 14, 1, 0, 0),  # still the same crossed moment
        (30, 1, 12, 1, 0, 0),  # locks
        (35, 1, 12, 2, 0, 0),  # still the same locked moment
        (40, 1, 11, 1, 0, 0),
        (45, 1, 12, 3, 0, 0),  # locks again
        (50, 1, 11, 1, 0, 0),
    )
    best, counts = consolidate(rows, 2)
    assert best.tolist() == [
        (10, 10, 1, 12, 1),
        (20, 0, 0, 0, 0),
        (30, 12, 1, 12, 1),
        (35, 12, 2, 12, 1),
        (40, 11, 1, 12, 1),
        (45, 12, 3, 12, 1),
        (50, 11, 1, 12, 1),
    ]
    assert counts == Counts(crossed=1, locked=2, crossed_ns=10, locked_ns=15)


def test_in_a_national_feed_the_newest_row_is_the_side():
    rows = quotes((1, 0, 10, 5, 0, 0), (1, 1, 0, 0, 11, 5), (2, 2, 9, 4, 0, 0), (2, 0, 0, 0, 10, 3))
    assert is_national(rows)
    best, _ = consolidate(rows, 3, Feed.NATIONAL)
    assert best.tolist()[2:] == [(2, 9, 4, 11, 5), (2, 9, 4, 10, 3)]
    # Exchange by exchange, the bid of 10 would stand for ever.
    best, _ = consolidate(rows, 3)
    assert best.tolist()[-1] == (2, 10, 5, 10, 3)


def test_a_feed_of_single_exchanges_is_not_taken_for_national():
    assert not is_national(quotes((1, 0, 10, 5, 11, 5), (1, 1, 10, 5, 11, 5)))
    assert not is_national(quotes((1, 0, 10, 5, 0, 0), (2, 1, 0, 0, 11, 5)))
    assert not is_national(quotes((1, 0, 10, 5, 0, 0)))


def pairs(n, lost=()):
    rows = [
        row for i in range(n) for row in ((i, 0, 10 + i % 3, 5, 0, 0), (i, 1, 0, 0, 14 + i % 3, 5))
    ]
    return quotes(*(row for i, row in enumerate(rows) if i not in lost))


def test_a_few_lost_rows_do_not_turn_the_reading_of_all_others():
    assert is_national(pairs(200))
    assert is_national(pairs(200, lost={37}))
    assert is_national(pairs(200, lost={0, 37, 398}))
    assert not is_national(pairs(200, lost={10 * i for i in range(9)}))
    assert not is_national(pairs(200)[::-1])


def test_no_quote_outlives_the_end_of_its_session():
    rows = quotes(
        (1, 0, 10, 5, 12, 5), (4, 1, 9, 5, 13, 5), (5, 1, 0, 0, 11, 2), (9, 0, 8, 1, 0, 0)
    )
    ends = np.array([5, 7, 20])
    best, counts = consolidate_sessions(rows, 2, Feed.EXCHANGES, ends)
    assert best.tolist() == [
        (1, 10, 5, 12, 5), (5, 0, 0, 0, 0), (5, 0, 0, 11, 2), (7, 0, 0, 0, 0), (9, 8, 1, 0, 0),
        (20, 0, 0, 0, 0),
    ]  # fmt: skip
    assert counts == Counts(0, 0, 0, 0)
    crossed = quotes(
        (1, 0, 10, 5, 9, 5), (3, 0, 8, 5, 9, 5), (6, 0, 10, 5, 9, 5), (9, 0, 9, 5, 9, 5)
    )
    _, counts = consolidate_sessions(crossed, 1, Feed.EXCHANGES, np.array([5]))
    assert counts == Counts(2, 1, 5, 0)
    none = np.empty(0, np.int64)
    assert consolidate_sessions(rows, 2, Feed.EXCHANGES, none)[0].tolist() == (
        consolidate(rows, 2)[0].tolist()
    )


@pytest.mark.parametrize(
    "rows",
    [
        [(2, 0, 1, 1, 0, 0), (1, 0, 1, 1, 0, 0)],
        [(1, 3, 1, 1, 0, 0)],
        [(1, -1, 1, 1, 0, 0)],
        [(1, 0, -1, 1, 0, 0)],
        [(1, 0, 1, 1, 1, -1)],
    ],
)
def test_a_refused_push_leaves_the_book_as_it_was(rows):
    book = NbboBook(3)
    book.push(quotes((1, 0, 5, 5, 6, 6)))
    before = book.snapshot().tolist()
    with pytest.raises(ValueError, match="quotes row"):
        book.push(quotes(*rows))
    assert book.snapshot().tolist() == before


def test_sizes_that_leave_int64_are_an_error():
    with pytest.raises(OverflowError):
        consolidate(quotes((1, 0, 5, 2**62, 0, 0), (2, 1, 5, 2**62, 0, 0)), 2)


def test_a_snapshot_of_another_book_is_refused():
    with pytest.raises(ValueError, match="other exchanges"):
        NbboBook(2).restore(NbboBook(3).snapshot())
    with pytest.raises(ValueError, match="another feed"):
        NbboBook(3, Feed.NATIONAL).restore(NbboBook(3).snapshot())


def plain(rows, feed):
    """The NBBO after every row, from dictionaries, written again from the definition."""
    bids, asks, found = {}, {}, []
    for row in rows:
        for side, price, size in (
            (bids, int(row["bid"]), int(row["bid_size"])),
            (asks, int(row["ask"]), int(row["ask_size"])),
        ):
            if price:
                if feed is Feed.NATIONAL:
                    side.clear()
                side[int(row["exchange"])] = (price, size)
        bid = max((p for p, s in bids.values() if s), default=0)
        ask = min((p for p, s in asks.values() if s), default=0)
        best = (
            bid,
            sum(s for p, s in bids.values() if p == bid),
            ask,
            sum(s for p, s in asks.values() if p == ask),
        )
        if bid and ask and bid > ask:
            best = (0, 0, 0, 0)
        if not found or best != found[-1][1:]:
            found.append((int(row["ts"]), *best))
    return found


@pytest.fixture(scope="module")
def recorded():
    path = SHARED / "us_equity_ticks" / "BAC" / "20131008_quotes.parquet"
    if not path.is_file():
        pytest.skip("needs recorded quotes in ../shared/data, absent here")
    return equity_quotes(path)


@pytest.mark.parametrize("feed", Feed)
def test_equals_plain_python_on_recorded_quotes(recorded, feed):
    rows, exchanges = recorded
    some = rows[200_000:240_000]
    assert consolidate(some, exchanges, feed)[0].tolist() == plain(some, feed)


def test_the_recorded_day_is_a_national_feed(recorded):
    """Its rows come in pairs; as single exchanges it would be crossed 97 % of the time."""
    rows, exchanges = recorded
    assert is_national(rows)
    length = int(rows["ts"][-1] - rows["ts"][0])
    best, counts = consolidate(rows, exchanges, Feed.NATIONAL)
    assert best.dtype == NBBO
    assert counts.crossed == 0
    assert counts.locked > 0
    assert counts.locked_ns / length == pytest.approx(0.00285, abs=1e-5)
    _, wrong = consolidate(rows, exchanges, Feed.EXCHANGES)
    assert wrong.crossed_ns / length == pytest.approx(0.9748, abs=1e-4)
