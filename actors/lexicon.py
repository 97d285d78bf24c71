"""A finance lexicon of our own: words of company news, by what they do to a reader's view.

Written from general knowledge of finance English for this project (Apache-2.0, like the rest); it
is derived from no published list. Words stand in base form; ``forms`` adds the regular
inflections, irregular ones are written out. ``actors.sentiment`` gives the words their grammar.

POLAR       word -> weight in [-2, 2], a tone of its own
UP, DOWN    verbs, adjectives and nouns of change: good or bad only through what changes
GOOD, BAD   measures: more of a GOOD one is good news, more of a BAD one is bad news
"""

from __future__ import annotations

_VOWELS = "aeiou"


def forms(word: str) -> set[str]:
    """The base form with its regular -s, -ed, -ing forms: 'cut' also gives 'cuts', 'cutting'."""
    if word.endswith("e"):
        return {word, word + "s", word + "d", word[:-1] + "ing"}
    if word.endswith("y") and word[-2] not in _VOWELS:
        return {word, word[:-1] + "ies", word[:-1] + "ied", word + "ing"}
    if word.endswith(("s", "sh", "ch", "x", "z")):
        return {word, word + "es", word + "ed", word + "ing"}
    regular = {word, word + "s", word + "ed", word + "ing"}
    closed = len(word) > 2 and word[-1] in "bdgmnprt" and word[-2] in _VOWELS
    if closed and word[-3] not in _VOWELS:
        regular |= {word + word[-1] + "ed", word + word[-1] + "ing"}
    return regular


def _words(text: str, inflect: bool = True) -> frozenset[str]:
    found: set[str] = set()
    for word in text.split():
        found |= forms(word) if inflect else {word}
    return frozenset(found)


UP = _words(
    """advance accelerate climb double elevate escalate expand gain grow heighten improve increase
    jump mount multiply quadruple rally rebound recover rise rocket skyrocket soar spike
    strengthen surge swell triple leap outpace widen boost raise"""
) | _words(
    """lifted rose risen grew grown leapt higher up upward upwards growth improvement expansion
    uptick upturn upswing upsurge record-high greater larger bigger stronger strongest highest
    doubling better best faster recovery""",
    inflect=False,
)

DOWN = _words(
    """collapse crash cut decline decrease deepen deteriorate dip dive drop dwindle ease
    erode halve lessen lower narrow plummet plunge reduce retreat shrink slash slide slip slow sink
    slump soften tumble trim weaken worsen wane fall curtail sag"""
) | _words(
    """contracted contracting fell fallen slid shrank shrunk sank sunk down downward downwards
    reduction contraction
    deterioration downturn downswing slowdown shortfall smaller weaker weakest lowest worse worst
    slower less""",
    inflect=False,
)

GOOD = _words(
    """profit sale revenue earning income turnover margin order backlog dividend ebit ebitda eps
    cash-flow cashflow demand output production volume delivery deliveries shipment export booking
    subscriber customer passenger traffic share price rating outlook guidance forecast target
    estimate productivity efficiency profitability competitiveness capacity utilization liquidity
    return yield result performance value market-share workforce staff job headcount employment
    gdp economy confidence recovery operation business surplus asset reserve premium commission
    royalty fee visitor occupancy order-book position activity presence portfolio coverage
    circulation quality loading throughput investment""",
) | _words(
    "pretax net operating gross sales revenues earnings orders intake receipts", inflect=False
)

BAD = _words(
    """loss deficit cost expense expenditure debt liability unemployment default claim delay
    impairment writedown write-down write-off writeoff charge inflation inventory provision
    bankruptcy bankruptcies layoff lay-off redundancy redundancies complaint recall leverage
    indebtedness arrear delinquency delinquencies churn risk uncertainty pressure emission
    consumption waste tax penalty penalties shortage overcapacity burden vacancy fraud accident"""
) | _words("losses taxes", inflect=False)

# Nouns that are bad (or good) news when they stand alone, with no change said.
LONE_MEASURE = {"loss": -0.5, "losses": -0.5, "deficit": -0.4, "impairment": -0.5}

# Measures that a verb of raising or cutting makes into news by itself.
POLICY = _words("guidance outlook forecast target estimate dividend rating price-target payout")

_TONES: dict[float, str] = {
    1.6: """outperform beat exceed surpass upgrade thrive excel outstrip""",
    1.2: """win award succeed flourish delight benefit enhance streamline achieve reward accretive
    bullish robust buoyant lucrative profitable favorable favourable breakthrough milestone
    outstanding excellent impressive exceptional superb""",
    0.8: """strong solid healthy positive optimistic encouraging promising attractive upbeat
    successful success successfully efficient innovative competitive progress prosper stabilize
    stabilise satisfactory satisfied pleased confident brisk vigorous resilient rewarding
    strengthened leading record advantage opportunity opportunities popular well-positioned
    superior""",
    0.4: """good secure approve approval approved agree partnership cooperation launch expand
    stable support boost save saving savings enable accelerate new-order contract-win
    cost-effective sustainable sustainability growing advanced modernize modernise""",
    -0.4: """concern caution cautious challenging difficult difficulty difficulties uncertain
    postpone delay volatile volatility dilute halt tough temporary subdued sluggish lack
    unfortunately slack""",
    -0.8: """weak poor negative disappoint disappointing disappointment unprofitable lawsuit sue
    litigation probe investigate investigation dispute warn warning adverse unfavorable
    unfavourable underperform strike dismiss terminate suspend cancel cancellation close-down
    shutdown closure discontinue bearish pessimistic struggle suffer hurt hit hamper worry worries
    redundant layoff lay-off complain reject violation breach penalize accuse allege
    damage severe downsize dismissal miss fail failure""",
    -1.4: """bankrupt bankruptcy insolvent insolvency fraud default crisis recession downgrade
    catastrophic collapse liquidate liquidation scandal convict guilty disaster disastrous
    plunge crash embezzle lay-offs layoffs distress""",
}
# Single words of the lists above that are no verbs still get harmless extra forms.
POLAR: dict[str, float] = {
    form: weight for weight, text in _TONES.items() for word in text.split() for form in forms(word)
} | {
    "fined": -0.8,
    "fines": -0.8,
    "won": 1.2,
    "awarded": 0.9,
    "beaten": 1.6,
    "above-expectation": 1.2,
    "laid-off": -1.0,
    "missed": -1.0,
    "misses": -1.0,
}

NEGATIONS = _words(
    "not no never without neither nor cannot hardly barely none nothing failed fails unable lack",
    inflect=False,
)
# Words that stand between two compared figures, and before what is expected.
AGAINST = _words("from compared versus vs against than while whereas", inflect=False)
YARDSTICK = _words(
    "expectation estimate forecast consensus guidance target view projection prediction"
)
ABOVE = _words("beat exceed top surpass outstrip better-than") | _words(
    "above beaten better higher stronger ahead", inflect=False
)
BELOW = _words("miss trail undershoot worse-than") | _words(
    "below under short behind worse lower weaker", inflect=False
)
UNITS = {
    "thousand": 1e3,
    "k": 1e3,
    "million": 1e6,
    "mn": 1e6,
    "mln": 1e6,
    "m": 1e6,
    "billion": 1e9,
    "bn": 1e9,
    "bln": 1e9,
    "b": 1e9,
    "trillion": 1e12,
}
