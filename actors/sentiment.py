"""Scores a news text in [-1, 1]: lexicon words plus the grammar of company news.

The text is cut into sentences and each is read for five things, whose points are summed:

- change of a measure: direction (rose, fell) times measure ('profit' good, 'costs' bad); a word
  of change without a measure near it counts half;
- compared figures: 'sales were 12 mn compared to 10 mn': the larger first figure is a rise; and
  'a profit ... compared to a loss' (or the other way) is a swing;
- yardsticks: above or below expectations, beat or missed estimates;
- policy: guidance, outlook or dividend raised, cut, suspended;
- tone: words with a weight of their own (``lexicon.POLAR``).

A negation within three words before turns a point round at 0.7 of its size ('not good' is less
bad than 'bad'; Taboada et al. 2011 argue for such a shift). The sum s of a text becomes
tanh(s / 2), so that one clear statement scores about 0.5 and no text leaves [-1, 1].
"""

from __future__ import annotations

import math
import re

from actors.lexicon import (
    ABOVE,
    AGAINST,
    BAD,
    BELOW,
    DOWN,
    GOOD,
    LONE_MEASURE,
    NEGATIONS,
    POLAR,
    UNITS,
    UP,
    YARDSTICK,
)

NEUTRAL_BAND = 0.15  # |score| up to here reads as neutral
_SCALE = 2.0
_CHANGE, _LONE_CHANGE, _COMPARED, _SWING, _YARD, _POLICY = 1.0, 0.5, 1.0, 1.2, 1.2, 0.6
_NEGATED = -0.7
_NEGATION_REACH = 3
_MEASURE_REACH = 7  # words between a measure and its change
_MAX_CHARACTERS = 20_000

_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?%?|[a-z]+(?:-[a-z]+)*")
_SENTENCE = re.compile(r"(?<=[a-z%)])[.;!?]\s+|\n+")
_SHORT_NOT = re.compile("n['\u2019]t\\b")
_PROFIT = frozenset({"profit", "profits", "income", "earnings", "surplus", "gain"})
_LOSS = frozenset({"loss", "losses", "deficit"})
_POLICY_MEASURES = frozenset(
    {"guidance", "outlook", "forecast", "forecasts", "dividend", "dividends", "target", "targets"}
)
_STOPPED = frozenset({"suspended", "scrapped", "withdrew", "withdrawn", "withdraws", "suspends"})
# 'declined to comment' declines nothing that is measured.
_SILENCE = frozenset({"comment", "say", "disclose", "give", "elaborate", "name", "specify"})
_REST = frozenset({"unchanged", "stable", "flat", "steady"})


def score_text(text: str) -> float:
    """Net sentiment of an English company news text, in [-1, 1]; 0.0 where nothing is recognised.

    Reads the first 20,000 characters, so that the cost of a text is bounded.
    """
    lowered = _SHORT_NOT.sub(" not", text[:_MAX_CHARACTERS].lower())
    total = sum(score_sentence(_TOKEN.findall(part)) for part in _SENTENCE.split(lowered))
    return math.tanh(total / _SCALE)


def score_sentence(words: list[str]) -> float:
    """Points of one sentence, unbounded."""
    used: set[int] = set()
    points = _swing(words, used)
    points += _yardsticks(words, used)
    compared = _compared(words) if not points else 0.0
    changes = _changes(words, used)
    # 'rose to 12 from 10' says one thing twice; the figures speak where no word of change does.
    points += changes if changes else compared
    return points + _tone(words, used)


def _negated(words: list[str], place: int) -> float:
    before = words[max(0, place - _NEGATION_REACH) : place]
    return _NEGATED if any(word in NEGATIONS for word in before) else 1.0


def _measure(word: str) -> float:
    if word in BAD:
        return -1.0
    return 1.0 if word in GOOD else 0.0


def _swing(words: list[str], used: set[int]) -> float:
    """A profit after a loss, or a loss after a profit."""
    for place, word in enumerate(words):
        if word not in AGAINST and word not in {"after", "to", "into"}:
            continue
        before = _last(words[:place], _PROFIT | _LOSS)
        after = _first(words[place + 1 : place + 9], _PROFIT | _LOSS)
        if before is None or after is None or (before in _LOSS) == (after in _LOSS):
            continue
        earlier_first = word in {"to", "into"}
        better = (before in _LOSS) if earlier_first else (after in _LOSS)
        used.update(i for i, other in enumerate(words) if other in _PROFIT | _LOSS | UP | DOWN)
        return _SWING if better else -_SWING
    return 0.0


def _first(words: list[str], wanted: frozenset[str]) -> str | None:
    return next((word for word in words if word in wanted), None)


def _last(words: list[str], wanted: frozenset[str]) -> str | None:
    return next((word for word in reversed(words) if word in wanted), None)


def _yardsticks(words: list[str], used: set[int]) -> float:
    """'above expectations', 'missed estimates', 'fell short of the consensus'."""
    points = 0.0
    for place, word in enumerate(words):
        if word not in YARDSTICK:
            continue
        for i in range(max(0, place - 5), place):
            if i in used:
                continue
            sign = (words[i] in ABOVE) - (words[i] in BELOW)
            if sign:
                used.update((i, place))
                points += sign * _YARD * _negated(words, i)
                break
    return points


def _changes(words: list[str], used: set[int]) -> float:
    """Each word of change times the measure that is nearest to it."""
    points = 0.0
    for place, word in enumerate(words):
        sign = float(word in UP) - float(word in DOWN)
        if place in used or not sign or _declines_to_speak(words, place):
            continue
        where = _nearest_measure(words, place)
        if where is None:
            points += _LONE_CHANGE * sign * _negated(words, place)
            continue
        point = _CHANGE * sign * _measure(words[where])
        if words[where] in _POLICY_MEASURES:
            point += math.copysign(_POLICY, point)
        used.update((place, where))
        points += point * _negated(words, place)
    for place, word in enumerate(words):
        near = words[max(0, place - 4) : place + 5]
        if word in _STOPPED and any(other in _POLICY_MEASURES for other in near):
            points -= _CHANGE
    return points


def _declines_to_speak(words: list[str], place: int) -> bool:
    after = words[place + 1 : place + 3]
    return len(after) == 2 and after[0] == "to" and after[1] in _SILENCE


def _nearest_measure(words: list[str], place: int) -> int | None:
    """The measure that changes: before the word of change first, a step nearer than one after."""
    best, best_distance = None, _MEASURE_REACH + 1
    for i in range(max(0, place - _MEASURE_REACH), min(len(words), place + _MEASURE_REACH + 1)):
        if i == place or not _measure(words[i]):
            continue
        distance = place - i if i < place else i - place + 1
        # Of 'operating loss' the loss changes: a BAD word wins over the GOOD one beside it.
        if distance < best_distance or (distance == best_distance + 1 and words[i] in BAD):
            best, best_distance = i, distance
    return best


def _figure(words: list[str], place: int) -> float | None:
    """The amount at ``place``; None for percentages and years, which are not compared."""
    word = words[place]
    if not word[0].isdigit() or word.endswith("%"):
        return None
    value = float(word.replace(",", ""))
    unit = UNITS.get(words[place + 1]) if place + 1 < len(words) else None
    if unit is None and value == int(value) and 1900 <= value <= 2100:
        return None
    return value * (unit or 1.0)


def _compared(words: list[str]) -> float:
    """Figures of a measure on both sides of 'compared to', 'from', 'versus'."""
    for place, word in enumerate(words):
        if word not in AGAINST:
            continue
        before = [
            f for i in range(max(0, place - 5), place) if (f := _figure(words, i)) is not None
        ]
        after = range(place + 1, min(len(words), place + 8))
        later = [f for i in after if (f := _figure(words, i)) is not None]
        measure = next((m for w in reversed(words[:place]) if (m := _measure(w))), 0.0)
        if before and later and measure and before[-1] != later[0]:
            return _COMPARED * measure * (1.0 if before[-1] > later[0] else -1.0)
    return 0.0


def _tone(words: list[str], used: set[int]) -> float:
    points = 0.0
    for place, word in enumerate(words):
        if place in used or word in _REST:
            continue
        points += POLAR.get(word, LONE_MEASURE.get(word, 0.0)) * _negated(words, place)
    return points
