"""When a champion is demoted: planted decay is found, a good one is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.errors import InputError
from tuning.decay import FRACTIONS, Compared, DecayRules, doubt, judge_decay, window_begins
from tuning.session_result import Floats

DAY = 86_400_000_000_000
HORIZON = 5
RULES = DecayRules()


def softmax(x: Floats) -> Floats:
    grown = np.exp(x - x.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def stream(
    seed: int, days: int, symbols: int = 3, wrong_from: int | None = None, skill: float = 0.5
) -> Compared:
    """Outcomes drawn from a true distribution that champion and predecessor see through noise of
    equal strength; from day ``wrong_from`` on the champion takes up for down. Outcomes of one
    symbol share their horizon's draw, so that they overlap as those of real bars do.
    """
    rng = np.random.default_rng(seed)
    shape = (days, symbols)
    signal = rng.normal(0, skill, shape)
    shock = rng.normal(0, 1, (days + HORIZON, symbols))
    common = rng.normal(0, 1, (days + HORIZON, 1))
    moves = np.stack(
        [(0.8 * shock + 0.6 * common)[i : i + HORIZON].sum(axis=0) for i in range(days)]
    )
    score = signal + moves / math.sqrt(HORIZON)
    outcome = np.where(score < -0.43, 0, np.where(score > 0.43, 2, 1))

    def view(sign: Floats) -> Floats:
        seen = signal * sign + rng.normal(0, 0.3, shape)
        return softmax(np.stack([-seen, np.zeros(shape), seen], axis=-1)).reshape(-1, 3)

    turned = np.where(np.arange(days) >= (days if wrong_from is None else wrong_from), -1.0, 1.0)
    ts = np.repeat(np.arange(days) * DAY, symbols)
    champion, predecessor = view(turned[:, None]), view(np.ones((days, 1)))
    return Compared(ts, ts + HORIZON * DAY, outcome.reshape(-1), champion, predecessor)


def cut(compared: Compared, days: int) -> Compared:
    """What was known after so many days."""
    rows = compared.known < days * DAY
    return Compared(
        compared.ts[rows],
        compared.known[rows],
        compared.outcome[rows],
        compared.champion[rows],
        compared.predecessor[rows],
    )


def test_a_champion_that_turns_is_found_and_when_it_turned() -> None:
    whole = stream(1, 1_500, wrong_from=1_000)
    before = judge_decay(cut(whole, 1_000), HORIZON, RULES)
    assert not before.decayed
    after = judge_decay(whole, HORIZON, RULES)
    assert after.decayed
    assert after.evidence >= RULES.asked == pytest.approx(20)
    assert abs(after.doubted_from // DAY - 1_000) < 60
    assert after.difference_since > after.difference
    assert after.low < after.difference < after.high
    assert (after.outcomes, after.windows) == (4_500, 300)
    for figure in ("4,500 outcomes in 300 windows", "evidence", "20 demotes"):
        assert figure in after.text
    # The other way round nothing speaks against it.
    swapped = Compared(whole.ts, whole.known, whole.outcome, whole.predecessor, whole.champion)
    assert not judge_decay(swapped, HORIZON, RULES).decayed


def test_a_champion_that_is_as_good_is_seldom_demoted_however_often_it_is_reviewed() -> None:
    """Declared: at most 5 % in its whole life. Reviewed ten times in three years."""
    rules = DecayRules(confidence=0.95, least_windows=1, least_outcomes=1)
    demoted = sum(
        any(judge_decay(cut(whole, days), HORIZON, rules).decayed for days in range(75, 751, 75))
        for whole in (stream(seed, 750) for seed in range(60))
    )
    assert demoted <= 3  # 5 % of 60


def test_the_declared_rate_holds_at_every_moment() -> None:
    """2,000 fair streams of bets, looked at after each window, by the recursion of the capital."""
    rng = np.random.default_rng(11)
    paths, length = 2_000, 200
    # Small losses and rare large wins of the bettor: mean 0, skewed, the hard case.
    bets = np.where(rng.random((length, paths)) < 0.2, 1.0, -0.25)
    held = np.zeros((len(FRACTIONS), paths))
    highest = np.zeros(paths)
    stakes = np.array(FRACTIONS)[:, None]
    for n, row in enumerate(bets, start=1):
        held = (held + 1.0 / (n * (n + 1.0)) / len(FRACTIONS)) * (1.0 + stakes * row)
        capital = held.sum(axis=0) + 1.0 / (n + 1.0)
        highest = np.maximum(highest, capital)
    assert capital[0] == pytest.approx(doubt(bets[:, 0])[0], rel=1e-9)
    assert 0 < np.mean(highest >= 20.0) <= 0.05


def test_decay_is_found_in_nearly_all_streams() -> None:
    found = sum(
        judge_decay(stream(seed, 1_100, wrong_from=500), HORIZON, RULES).decayed
        for seed in range(20)
    )
    assert found >= 18


def test_the_capital_is_the_formula_and_fair() -> None:
    rng = np.random.default_rng(3)
    bets = np.where(rng.random(12) < 0.5, -1.0, 0.7)
    expected = 1 / 13 + sum(
        np.prod(1 + f * bets[j - 1 :]) / (j * (j + 1) * len(FRACTIONS))
        for j in range(1, 13)
        for f in FRACTIONS
    )
    assert doubt(bets)[0] == pytest.approx(expected, rel=1e-12)
    assert doubt(np.empty(0)) == (1.0, 0)
    # Of fair bets the mean over all outcomes is 1 exactly: 2^9 equally likely paths.
    paths = np.array(np.meshgrid(*[[-0.8, 0.8]] * 9)).reshape(9, -1).T
    assert np.mean([doubt(path)[0] for path in paths]) == pytest.approx(1.0, rel=1e-12)


def test_capital_beyond_any_float_is_still_a_number() -> None:
    capital, place = doubt(np.ones(5_000))
    assert math.isfinite(capital)
    assert capital > 1e300
    assert place == 0


def test_windows_open_when_the_last_one_is_known() -> None:
    ts = np.array([0, 0, 1, 2, 2, 3, 4, 9])
    known = np.array([1, 2, 3, 4, 3, 5, 6, 12])  # 0 is known at 2, 2 at 4, 4 at 6
    p = np.full((8, 3), 1 / 3)
    compared = Compared(ts, known, np.zeros(8, np.int64), p, p)
    assert window_begins(compared).tolist() == [0, 2, 4, 9]


def test_equal_forecasts_and_too_few_never_demote() -> None:
    whole = stream(5, 400)
    same = Compared(whole.ts, whole.known, whole.outcome, whole.champion, whole.champion)
    judged = judge_decay(same, HORIZON, RULES)
    assert (judged.decayed, judged.evidence, judged.difference) == (False, pytest.approx(1.0), 0.0)
    hopeless = stream(5, 60, wrong_from=0, skill=3.0)
    assert "too few" in judge_decay(hopeless, HORIZON, RULES).text
    assert not judge_decay(hopeless, HORIZON, RULES).decayed
    eager = DecayRules(least_windows=1, least_outcomes=1)
    assert judge_decay(hopeless, HORIZON, eager).decayed
    nothing = judge_decay(cut(whole, 0), HORIZON, RULES)
    assert (nothing.decayed, nothing.windows) == (False, 0)


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"confidence": 0.2}, {"least_windows": 0}, {"least_outcomes": 0}]
)
def test_rules_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="decay rule"):
        DecayRules(**wrong)
