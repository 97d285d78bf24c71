"""The six voting agents, in the order in which votes, weights and reports list them."""

from __future__ import annotations

from actors import (
    financial_sentiment,
    market_prediction,
    strategy_optimization,
    trend_momentum,
    volume_microstructure,
    vpin_hft,
)
from actors.contract import AgentSpec

AGENTS: tuple[AgentSpec, ...] = (
    trend_momentum.SPEC,
    strategy_optimization.SPEC,
    financial_sentiment.SPEC,
    market_prediction.SPEC,
    volume_microstructure.SPEC,
    vpin_hft.SPEC,
)
