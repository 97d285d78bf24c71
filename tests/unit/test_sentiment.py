"""The sentiment score: grammar on sentences made for this test, and a public benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.lexicon import BAD, DOWN, GOOD, UP, forms
from actors.sentiment import NEUTRAL_BAND, score_text

PHRASE_BANK = (
    Path(__file__).resolve().parents[3] / "shared/data/news_text/FPB_Sentences_50Agree.txt"
)
GATE = 0.55


@pytest.mark.parametrize(
    "text",
    [
        "Quarterly profit rose by a fifth on strong demand.",
        "The operating loss narrowed to 1.2 million euros.",
        "Costs fell sharply in the second quarter.",
        "Net sales were 12 mn compared to 10 mn a year earlier.",
        "It made a profit of 3 mn, compared to a loss of 2 mn.",
        "It swung to a profit from a loss.",
        "Earnings beat the consensus estimate.",
        "Revenue came in above expectations.",
        "The board raised its dividend.",
        "The company raised its full-year guidance.",
        "Unemployment declined for the third month.",
        "The firm was awarded a contract by the city.",
    ],
)
def test_good_news_scores_above_the_neutral_band(text: str) -> None:
    assert score_text(text) > NEUTRAL_BAND


@pytest.mark.parametrize(
    "text",
    [
        "Quarterly profit fell by a fifth on weak demand.",
        "The operating loss widened to 1.2 million euros.",
        "Costs rose sharply in the second quarter.",
        "Net sales were 10 mn compared to 12 mn a year earlier.",
        "It made a loss of 3 mn, compared to a profit of 2 mn.",
        "It slipped into a loss after a profit the year before.",
        "Earnings missed analysts' estimates.",
        "Revenue came in below expectations.",
        "The board cut its dividend.",
        "The company suspended its guidance.",
        "Results did not improve.",
        "Sales didn't grow.",
        "The supplier filed for bankruptcy.",
    ],
)
def test_bad_news_scores_below_it(text: str) -> None:
    assert score_text(text) < -NEUTRAL_BAND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "The annual meeting is held on Tuesday in the main hall.",
        "The company has 300 people in 14 countries.",
        "A spokesman declined to comment.",
        "12 34 56 %",
        "\u6771\u4eac\u682a\u5f0f",
    ],
)
def test_what_says_nothing_is_neutral(text: str) -> None:
    assert abs(score_text(text)) <= NEUTRAL_BAND


def test_scores_stay_within_bounds_and_long_texts_are_cut() -> None:
    flood = "Profit rose. " * 5000
    assert 0.9 < score_text(flood) <= 1.0
    assert -1.0 <= score_text("Loss widened. " * 5000) < -0.9
    assert score_text(flood) == score_text(flood[:20_000] + "bankruptcy fraud " * 1000)


def test_units_are_read_before_figures_are_compared() -> None:
    assert score_text("Sales were 1.1 bn compared to 950 mn.") > NEUTRAL_BAND
    assert score_text("Sales were 950 mn compared to 1.1 bn.") < -NEUTRAL_BAND


def test_inflections() -> None:
    assert forms("cut") == {"cut", "cuts", "cuted", "cuting", "cutted", "cutting"}
    assert {"decline", "declines", "declined", "declining"} <= forms("decline")
    assert {"rally", "rallies", "rallied", "rallying"} <= forms("rally")
    assert {"crash", "crashes", "crashed", "crashing"} <= forms("crash")
    assert {"slip", "slipped", "slipping"} <= forms("slip")


def test_no_word_points_both_ways() -> None:
    assert not UP & DOWN
    assert not GOOD & BAD


def test_financial_phrase_bank() -> None:
    if not PHRASE_BANK.is_file():
        pytest.skip("the Financial PhraseBank is not beside the repository: ../shared is absent")
    lines = PHRASE_BANK.read_text(encoding="latin-1").splitlines()
    rows = [line.rsplit("@", 1) for line in lines if "@" in line]
    truth = np.array([("negative", "neutral", "positive").index(label) for _, label in rows])
    scores = np.array([score_text(text) for text, _ in rows])
    guess = np.where(scores > NEUTRAL_BAND, 2, np.where(scores < -NEUTRAL_BAND, 0, 1))
    assert len(rows) > 4800
    f1 = [
        2.0 * np.sum((guess == k) & (truth == k)) / (np.sum(guess == k) + np.sum(truth == k))
        for k in range(3)
    ]
    assert np.mean(f1) >= GATE, f1
