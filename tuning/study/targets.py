"""What may be searched, by name: its space, what it changes, and where a winner may go.

The space of one part stands beside that part. ``committee`` joins several, each name led by its
part: ``sizing.vol_target``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors import financial_sentiment, pool_state, sizing
from actors.registry import AGENTS
from actors.space import Config, Constraint, Parameter, Space, When
from data.errors import InputError
from tuning import fit_microstructure, fit_trend, fit_vpin, seed_champions, signal_backtest
from tuning.study import predictor_settings

SIGNAL, POOL, SIZING = "ema_cross", "pool", "sizing"
AGENT_NAMES = tuple(spec.name for spec in AGENTS)


@dataclass(frozen=True, eq=False)
class Target:
    """``parts``: whose configuration the search changes (agents, pool, sizing or the signal)."""

    name: str
    title: str
    space: Space
    parts: tuple[str, ...]
    promotes: bool  # whether a winner may become a model of the live committee
    objective: str = "sharpe"

    @property
    def agent(self) -> str | None:
        """The agent that is searched, when it is one."""
        return self.parts[0] if self.parts[0] in AGENT_NAMES and len(self.parts) == 1 else None

    def split(self, config: Config) -> dict[str, Config]:
        """The configuration of each part that it changes."""
        if len(self.parts) == 1:
            return {self.parts[0]: dict(config)}
        return {part: _inside(config, part) for part in self.parts}


def subset(space: Space, names: Sequence[str]) -> Space:
    """Some of a space's parameters, without its constraints."""
    return Space({name: space.parameters[name] for name in names})


@dataclass(frozen=True)
class _Within:
    """A constraint of a part, asked of a joined configuration."""

    part: str
    constraint: Constraint

    def __call__(self, config: Config) -> bool:
        return self.constraint.holds(_inside(config, self.part))


def joined(spaces: Mapping[str, Space]) -> Space:
    """One space of several, each parameter's name led by its part's."""
    parameters: dict[str, Parameter] = {}
    constraints = []
    for part, space in spaces.items():
        for name, parameter in space.parameters.items():
            parameters[f"{part}.{name}"] = _renamed(parameter, part)
        constraints += [
            Constraint(f"{part}: {each.text}", _Within(part, each)) for each in space.constraints
        ]
    return Space(parameters, constraints)


def _renamed(parameter: Parameter, part: str) -> Parameter:
    if parameter.when is None:
        return parameter
    when = When(parameter=f"{part}.{parameter.when.parameter}", equals=parameter.when.equals)
    return type(parameter)(**{**vars(parameter), "when": when})


def _inside(config: Config, part: str) -> Config:
    lead = f"{part}."
    return {name[len(lead) :]: value for name, value in config.items() if name.startswith(lead)}


# Of a backtest, where no vote comes late, the pool's other two parameters change nothing. The
# tastes of a champion that stands alone change nothing either: they follow its rule.
_POOL = subset(pool_state.SPACE, ["mixing", "equal_weight_prior"])
_COMMITTEE = {
    POOL: _POOL,
    SIZING: sizing.SPACE,
    "trend_momentum": fit_trend.SPACE,
    "market_prediction": subset(predictor_settings.SPACE, ["shrinkage_prior"]),
    "volume_microstructure": fit_microstructure.SPACE,
    "vpin_hft": subset(fit_vpin.SPACE, ["prior_slope"]),
}
PART_SPACES: dict[str, Space] = {
    "trend_momentum": fit_trend.SPACE,
    "strategy_optimization": seed_champions.SPACE,
    "financial_sentiment": financial_sentiment.SPACE,
    "market_prediction": predictor_settings.SPACE,
    "volume_microstructure": fit_microstructure.SPACE,
    "vpin_hft": fit_vpin.SPACE,
    POOL: _POOL,
    SIZING: sizing.SPACE,
}

TARGETS: dict[str, Target] = {
    each.name: each
    for each in (
        Target(SIGNAL, "EMA cross", signal_backtest.SPACE, (SIGNAL,), promotes=False),
        *(
            Target(spec.name, spec.title, PART_SPACES[spec.name], (spec.name,), promotes=True)
            for spec in AGENTS
        ),
        Target(POOL, "Pool", _POOL, (POOL,), promotes=False, objective="brier"),
        Target(SIZING, "Sizing", sizing.SPACE, (SIZING,), promotes=False),
        Target(
            "committee", "Whole committee", joined(_COMMITTEE), tuple(_COMMITTEE), promotes=False
        ),
    )
}


def target_of(name: str) -> Target:
    """InputError for a name that is none of TARGETS."""
    if name not in TARGETS:
        raise InputError(f"nothing is called {name!r} to search: give one of {', '.join(TARGETS)}")
    return TARGETS[name]
