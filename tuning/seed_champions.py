"""The seeded champions: a small declared set whose rules and tastes are fixed in advance.

The parameters are the ones that the rules' authors or common usage give (Turtle 20/10 and 55/20
channels, Wilder's 14-bar RSI, Bollinger's 20-bar bands, 20/100 and 10/40 EMA crosses). Nothing is
searched here, so nothing is overfitted by selection; later champions come from studies with
overfitting statistics. Only each champion's link is fitted on warm-up bars, with the same prior
on its slopes as ``tuning.fit_trend``, for the same reason. With too few rows the set is empty and
the agent abstains with NO_CHAMPION.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors import strategy_optimization as agent
from actors.agent import Agent
from actors.contract import OUT_FIXED, STATUS, Floats, Status, no_params
from actors.rules import SPACE as RULE_SPACE
from actors.space import Real, Space
from data.bars import Bars
from tuning.fit_trend import PRIOR_SLOPE
from tuning.labels import NO_LABEL, labels
from tuning.samples import Samples, humble_link

_TREND = {"trend_taste": 0.5, "vol_taste": -0.25}
_REVERSION = {"trend_taste": -0.5, "vol_taste": -0.25}
DECLARED: tuple[dict[str, Any], ...] = (
    {"rule": "ema_cross", "fast": 20, "slow": 100, **_TREND},
    {"rule": "ema_cross", "fast": 10, "slow": 40, **_TREND},
    {"rule": "donchian", "entry": 55, "exit": 20, **_TREND},
    {"rule": "donchian", "entry": 20, "exit": 10, **_TREND},
    {"rule": "rsi", "period": 14, "width": 20.0, **_REVERSION},
    {"rule": "bollinger", "period": 20, "width": 2.0, **_REVERSION},
)
# What a study may search: a champion's rule, and how far its link may lean. Under the seeded prior
# hardly any rule speaks loudly enough to pay for a trade.
SPACE = Space(
    {**RULE_SPACE.parameters, "prior_slope": Real(0.01, 1.0, PRIOR_SLOPE, log=True)},
    RULE_SPACE.constraints,
)
_FIRST_SIGNAL = OUT_FIXED + agent.SPEC.evidence.index("signal_0")


def seed(bars: Bars, horizon: int, seed: int) -> Floats:  # noqa: ARG001 - one signature for all
    """Packed champions (``strategy_optimization.describe`` reads them), or empty.

    Uses nothing but ``bars``, in (ts, symbol) order. ``seed`` is unused: each fit has a unique
    minimum.
    """
    declared = [{**champion, "link": [0.0] * agent.LINK_WIDTH} for champion in DECLARED]
    unfitted = agent.pack(declared)
    runner = Agent(agent.SPEC)
    runner.set_model(unfitted)
    votes = runner.apply(bars)
    outcomes = labels(bars, horizon)
    usable = (votes[:, STATUS] == Status.VOTED) & (outcomes != NO_LABEL)
    for i, champion in enumerate(declared):
        signal = np.ascontiguousarray(votes[usable, _FIRST_SIGNAL + i][:, None])
        moments = bars["ts"][usable].astype(np.int64)
        samples = Samples(signal, outcomes[usable], moments, moments)
        link = humble_link(samples, horizon, PRIOR_SLOPE)
        if len(link) == 0:
            return no_params()
        champion["link"] = list(link)
    return agent.pack(declared)
