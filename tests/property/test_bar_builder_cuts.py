"""Any cut of a stream of trades and quotes into batches gives the same bars, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.bar_builder import BarBuilder, build_bars
from data.bars import BAR
from data.clocks import Clock
from data.nbbo import Feed, NbboBook, consolidate
from data.ticks import NBBO, QUOTE, TRADE
from data.trade_sign import SignRule, TradeSigner, sign_trades

CLOCKS = [Clock.parse(c) for c in ("100ms", "1s", "1d", "tick:3", "volume:9", "dollar:1")]
EXCHANGES = 3
# Few distinct values, so that ties in ts, boundaries, crossed and locked moments all occur.
TS = st.integers(0, 60).map(lambda n: n * 25_000_000)
SIDES = st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 6), st.integers(0, 3))


@st.composite
def streams(draw):
    """Trades, QUOTE rows and moments at which to cut, the first two sorted by ts."""
    rows = draw(
        st.lists(
            st.tuples(TS, st.integers(1, 6), st.integers(1, 12), st.integers(-1, 1)), max_size=40
        )
    )
    updates = draw(st.lists(st.tuples(TS, st.integers(0, EXCHANGES - 1), SIDES), max_size=40))
    trades = np.array([(*r, 0) for r in sorted(rows, key=lambda r: r[0])], TRADE)
    quotes = np.array([(ts, x, *s) for ts, x, s in sorted(updates, key=lambda r: r[0])], QUOTE)
    return trades, quotes


def events(trades, quotes, first_quotes):
    """(is_quote, row) by ts; at equal ts either kind may come first."""
    marks = [(t, first_quotes, False, i) for i, t in enumerate(trades["ts"])]
    marks += [(t, not first_quotes, True, i) for i, t in enumerate(quotes["ts"])]
    return [(is_quote, i) for _, _, is_quote, i in sorted(marks)]


def batches(trades, quotes, cuts, first_quotes):
    """The stream cut after the given numbers of events: (trades, quotes) of each piece."""
    order = events(trades, quotes, first_quotes)
    edges = sorted({0, len(order), *(c % (len(order) + 1) for c in cuts)})
    for a, b in pairwise(edges):
        piece = order[a:b]
        yield (
            trades[[i for is_quote, i in piece if not is_quote]],
            quotes[[i for is_quote, i in piece if is_quote]],
        )


def joined(pieces, dtype=BAR):
    return np.concatenate([*pieces, np.empty(0, dtype)])


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
@given(
    stream=streams(),
    cuts=st.lists(st.integers(0, 100), max_size=6),
    rule=st.sampled_from(SignRule),
    first_quotes=st.booleans(),
    feed=st.sampled_from([None, *Feed]),
)
@settings(max_examples=60, deadline=None)
def test_cuts_and_snapshots_change_nothing(clock, stream, cuts, rule, first_quotes, feed):
    trades, quotes = stream
    nbbo = None
    if feed is None:
        quotes = quotes[:0]
    else:
        nbbo, _ = consolidate(quotes, EXCHANGES, feed)

    def fresh():
        book = None if feed is None else NbboBook(EXCHANGES, feed)
        return BarBuilder(clock, 2, 250_000, rule, book)

    whole = fresh()
    at_once = joined([whole.push(trades, quotes)])
    assert at_once.tobytes() == build_bars(trades, clock, 2, 250_000, nbbo, rule).tobytes()
    builder, pieces = fresh(), []
    for some_trades, some_quotes in batches(trades, quotes, cuts, first_quotes):
        pieces.append(builder.push(some_trades, some_quotes))
        snapshot, builder = builder.snapshot(), fresh()
        builder.restore(snapshot)
        assert builder.snapshot() == snapshot
    assert joined(pieces).tobytes() == at_once.tobytes()
    assert builder.flush().tobytes() == whole.flush().tobytes()


@given(stream=streams(), cut=st.integers(0, 40), clock=st.sampled_from(CLOCKS))
@settings(max_examples=200, deadline=None)
def test_a_truncated_stream_gives_the_same_finished_bars(stream, cut, clock):
    trades, quotes = stream
    nbbo, _ = consolidate(quotes, EXCHANGES)
    known = trades[:cut]
    seen = nbbo[nbbo["ts"] <= known["ts"][-1]] if len(known) else nbbo[:0]
    early = build_bars(known, clock, 0, 250_000, seen)
    late = build_bars(trades, clock, 0, 250_000, nbbo)
    assert early.tobytes() == late[: len(early)].tobytes()
    if len(known):
        # Bars of one nanosecond are stamped one after the other.
        assert np.all(early["ts"] <= known["ts"][-1] + np.arange(len(early)))


@given(stream=streams(), clock=st.sampled_from(CLOCKS))
@settings(max_examples=200, deadline=None)
def test_every_lot_is_in_one_bar_and_no_bar_is_crossed(stream, clock):
    trades, quotes = stream
    builder = BarBuilder(clock, 0, 250_000, book=NbboBook(EXCHANGES))
    bars = joined([builder.push(trades, quotes), builder.flush()])
    assert bars["volume"].sum() == trades["size"].sum()
    assert bars["trades"].sum() == len(trades)
    assert np.all(bars["low"] <= np.minimum(bars["open"], bars["close"]))
    assert np.all(bars["high"] >= np.maximum(bars["open"], bars["close"]))
    assert np.all(bars["buy_volume"] <= bars["volume"])
    both = (bars["bid"] > 0) & (bars["ask"] > 0)
    assert np.all(bars["bid"][both] <= bars["ask"][both])
    assert np.all((bars["bid"] == -1) == (bars["bid_size"] == -1))


@given(
    stream=streams(),
    cuts=st.lists(st.integers(0, 100), max_size=6),
    rule=st.sampled_from(SignRule),
    first_quotes=st.booleans(),
    feed=st.sampled_from(Feed),
)
@settings(max_examples=150, deadline=None)
def test_signs_and_nbbo_do_not_depend_on_the_cuts(stream, cuts, rule, first_quotes, feed):
    trades, quotes = stream
    whole = NbboBook(EXCHANGES, feed)
    nbbo = whole.push(quotes)
    signer, book, signs, rows = TradeSigner(rule), NbboBook(EXCHANGES, feed), [], []
    for some_trades, some_quotes in batches(trades, quotes, cuts, first_quotes):
        rows.append(book.push(some_quotes))
        signs.append(signer.push(some_trades, rows[-1]))
        snapshot, book = book.snapshot(), NbboBook(EXCHANGES, feed)
        book.restore(snapshot)
    assert joined(rows, NBBO).tobytes() == nbbo.tobytes()
    assert book.counts == whole.counts
    assert joined(signs, np.int64).tolist() == sign_trades(trades, nbbo, rule).tolist()
