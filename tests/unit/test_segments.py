"""The ledger of locked segments, in a SQLite file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import InputError
from tuning.study.contract import Segment
from tuning.study.database import Sqlite
from tuning.study.segments import (
    Opening,
    SegmentSpent,
    carry_over,
    open_segment,
    openings,
    shown,
    within_limit,
)

DAY = 86_400_000_000_000


def segment(since: int = 100, until: int = 200, *symbols: str, content: str = "c") -> Segment:
    return Segment(symbols or ("AAA", "BBB"), since * DAY, until * DAY, content)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Sqlite]:
    made = Sqlite(tmp_path / "studies.db")
    yield made
    made.close()


def look(ledger: Sqlite, at: Segment, study: str, *shown_to: str, limit: int = 3) -> Opening:
    return open_segment(ledger, at, study, shown_to or ("x",), limit, 1_000)


def test_each_opening_counts_what_came_before(ledger: Sqlite) -> None:
    first = look(ledger, segment(), "one", "a", "b")
    second = look(ledger, segment(), "two", "a", "c", "d")
    assert (first.openings, first.openings_before, first.candidates_before) == (1, 0, 0)
    assert (second.openings, second.openings_before, second.candidates_before) == (2, 1, 2)
    assert shown(ledger, segment()) == (2, 5)
    assert [each.study for each in openings(ledger)] == ["one", "two"]
    assert openings(ledger, "two") == [second]


def test_the_same_look_again_is_the_same_opening(ledger: Sqlite) -> None:
    first = look(ledger, segment(), "one", "a", "b")
    look(ledger, segment(), "two")
    # Whatever the order of symbols and candidates; what came later does not change it.
    swapped = segment(100, 200, "BBB", "AAA")
    assert look(ledger, swapped, "one", "b", "a", limit=1) == first
    assert shown(ledger, segment()) == (2, 3)
    assert look(ledger, segment(), "one", "a").openings_before == 2


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (segment(100, 200, content="repaired"), True),
        (segment(199, 300), True),
        (segment(200, 300), False),  # half-open: it begins where the other ends
        (segment(0, 100), True),  # whoever saw later bars had searched these
        (segment(0, 101, "BBB", "CCC"), True),
        (segment(100, 200, "CCC"), False),
        (segment(120, 130), True),
    ],
)
def test_what_counts_against_a_segment(ledger: Sqlite, other: Segment, counts: bool) -> None:
    look(ledger, segment(), "one", "a", "b")
    assert shown(ledger, other) == ((1, 2) if counts else (0, 0))
    assert look(ledger, other, "two").openings_before == int(counts)


def test_a_spent_segment_says_which_bars_are_left(ledger: Sqlite) -> None:
    look(ledger, segment(100, 200), "one", limit=2)
    look(ledger, segment(150, 250), "two", limit=2)
    with pytest.raises(SegmentSpent) as error:
        look(ledger, segment(150, 220), "three", limit=2)
    text = str(error.value)
    assert "\n" not in text
    assert "studies one, two" in text
    assert "only bars after 1970-09-08 can promote" in text  # day 250
    assert isinstance(error.value, InputError)
    assert shown(ledger, segment()) == (2, 2)  # a refused look is none
    assert look(ledger, segment(250, 300), "three", limit=2).openings == 1


def test_the_order_holds_when_the_clock_goes_back(ledger: Sqlite) -> None:
    first = open_segment(ledger, segment(), "z", ["a"], 3, 5_000)
    second = open_segment(ledger, segment(), "a", ["a"], 3, 4_000)
    assert (first.openings, second.openings) == (1, 2)
    assert second.opened_ns > first.opened_ns
    assert openings(ledger) == [first, second]


@pytest.mark.parametrize(
    ("at", "study", "candidates", "limit", "words"),
    [
        (segment(), "", ["a"], 3, "name of its study"),
        (segment(), "one", [], 3, "no candidate"),
        (segment(200, 200), "one", ["a"], 3, "no length"),
        (segment(content=""), "one", ["a"], 3, "no bars"),
        (segment(), "one", ["a"], 0, "1 or more"),
    ],
)
def test_what_is_no_opening_is_refused(
    ledger: Sqlite, at: Segment, study: str, candidates: list[str], limit: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_segment(ledger, at, study, candidates, limit, 1)
    assert openings(ledger) == []


def test_only_as_many_as_allowed_when_all_ask_at_once(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    Sqlite(path).close()
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def ask(number: int) -> None:
        mine = Sqlite(path)
        start.wait(10)
        try:
            look(mine, segment(), f"study-{number}", limit=2)
            outcomes.append("opened")
        except SegmentSpent:
            outcomes.append("spent")
        finally:
            mine.close()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["opened"] * 2 + ["spent"] * 4
    ledger = Sqlite(path)
    assert shown(ledger, segment()) == (2, 2)
    ledger.close()


def test_a_laptops_openings_are_carried_over_once(ledger: Sqlite, tmp_path: Path) -> None:
    house = Sqlite(tmp_path / "house.db")
    there = look(house, segment(), "theirs", "p", "q")
    first = look(ledger, segment(), "mine", "a")
    second = look(ledger, segment(), "mine", "b")
    for _ in range(2):
        carried = carry_over(ledger, house, 2_000)
        assert [each.opening_id for each in carried] == [first.opening_id, second.opening_id]
        # On the laptop nothing stood against the first; in the house one opening of two does.
        assert [(c.openings_before, c.candidates_before) for c in carried] == [(1, 2), (2, 3)]
        assert shown(house, segment()) == (3, 4)
    assert openings(house, "theirs") == [there]
    within_limit(carried[1], 3)
    with pytest.raises(SegmentSpent, match="only bars after 1970-07-20 can promote"):
        within_limit(carried[1], 2)
    house.close()
