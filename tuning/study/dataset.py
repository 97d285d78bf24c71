"""What a study searches: a feed's bars without the locked final segment, and its folds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.bars import Bars
from data.clocks import DAY_NS, Clock, ClockKind
from data.errors import InputError
from data.feed import Feed, feed_hash
from tuning.backtesting import moment_starts
from tuning.study.contract import Ints, Segment

LOCKED_SHARE = 0.2  # of the moments
SESSION_NS = 23_400_000_000_000  # of the New York Stock Exchange: 6.5 hours
TRADING_DAYS_AT_MOST = 300


@dataclass(frozen=True, eq=False)
class Dataset:
    """``bars`` may be searched, ``everything`` holds the locked segment too; (ts, symbol) order."""

    feed: Feed
    everything: Bars
    bars: Bars
    segment: Segment
    data_hash: str  # of everything and its symbols

    @property
    def moments(self) -> Ints:
        """Of the bars that may be searched."""
        return self.bars["ts"][moment_starts(self.bars)].astype(np.int64)


def split_feed(
    feed: Feed,
    since: int | None = None,
    until: int | None = None,
    locked_share: float = LOCKED_SHARE,
) -> Dataset:
    """Bars with ``since`` <= ts < ``until`` (ns UTC), their last moments locked away.

    Bars that come later than ``until`` change nothing, so a study that names it survives new data.
    InputError where nothing is left to search or to lock.
    """
    if not 0.0 < locked_share < 1.0:
        raise InputError(f"locked share {locked_share}: give a part of the data, as 0.2")
    ts = feed.bars["ts"]
    chosen = np.ones(len(ts), np.bool_)
    if since is not None:
        chosen &= ts >= since
    if until is not None:
        chosen &= ts < until
    everything = np.ascontiguousarray(feed.bars[chosen])
    moments = everything["ts"][moment_starts(everything)]
    locked_at = math.ceil((1.0 - locked_share) * len(moments))
    if not 0 < locked_at < len(moments):
        raise InputError(
            f"{feed.name} holds {len(moments)} moments between these dates: too little to search"
            " and to lock a final part away"
        )
    cut = int(moments[locked_at])
    locked = everything[everything["ts"] >= cut]
    segment = Segment(
        symbols=feed.symbols,
        since=cut,
        until=int(moments[-1]) + 1,
        content=feed_hash(locked, feed.symbols),
    )
    return Dataset(
        feed=feed,
        everything=everything,
        bars=everything[everything["ts"] < cut],
        segment=segment,
        data_hash=feed_hash(everything, feed.symbols),
    )


def check_unchanged(dataset: Dataset, recorded: str) -> None:
    """InputError when a study recorded other data; an empty record fits all."""
    if recorded and recorded != dataset.data_hash:
        raise InputError(
            f"{dataset.feed.name} has changed since the study began (data {recorded[:12]}, now"
            f" {dataset.data_hash[:12]}): bring the old file back, or begin a study of its own name"
        )


def bar_length(feed: Feed) -> int:
    """Nanoseconds from a bar's open to its close; 0 when its clock does not say.

    A daily bar of a market that closes is one session long.
    """
    clock = Clock.parse(feed.clock)
    if clock.kind is not ClockKind.TIME:
        return 0
    closes = clock.size == DAY_NS and feed.bars_per_year < TRADING_DAYS_AT_MOST
    return SESSION_NS if closes else clock.size
