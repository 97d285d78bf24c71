"""What a session will be: data, dates, models, limits and costs, decided before anything starts."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import psycopg

from actors.contract import Floats
from actors.costs import CostModel
from actors.limits import RiskLimits, load_limits
from actors.pool_state import PoolParams
from actors.sizing import SizingParams
from cluster.fingerprint import fingerprint
from data.bars import Bars
from data.clocks import DAY_NS
from data.errors import InputError
from data.feed import Feed, open_feed
from data.money import to_micro
from data.records import ModelSet, SessionConfig
from data.sessions import save_model, save_session
from data.times import day_ns
from tuning.model_schedule import months_between, retraining_moments

WARM_UP_DATES = 500  # of the data's dates, whatever symbols trade
HORIZON = 5
OPENING_CASH = Decimal(1_000_000)
# Half a basis point of notional: a commission per share means nothing on prices that were divided
# by later splits.
COSTS = CostModel(commission_per_lot_micro=0, commission_ppm=50)
# In a historical session only a fault reaches these: everything waits for a slow machine.
VOTE_DEADLINE_S = 60.0
APPROVAL_TTL_S = 3600.0
LIVE_VOTE_DEADLINE_S = 1.0


@dataclass(frozen=True)
class Plan:
    """A session's data before its models are fitted.

    ``fit_bars`` are the warm-up's bars alone, ``history`` all bars up to the session's last: both
    of every symbol of the data, whichever trade.
    """

    feed: Feed
    fit_bars: Bars
    history: Bars
    retrained_at: tuple[int, ...]  # ns UTC: the predictor is trained again on the bars before
    models_from: int
    first_traded: int
    limits: RiskLimits
    seed: int


def plan_session(
    first: str | None,
    last: str | None,
    symbols: Sequence[str],
    source: str | None,
    seed: int,
    lake: Path = Path("lake"),
    warm_up: int = WARM_UP_DATES,
    retrain_months: int | None = None,
) -> Plan:
    """Reads and checks everything that a person may have got wrong; InputError names it.

    ``first`` and ``last`` are ISO dates: the first traded and the last date, both included.
    ``source``: as in ``data.feed.open_feed``. ``warm_up`` counts the data's moments.
    ``retrain_months``: from one training of the predictor to the next, 0 for never; None goes by
    the data's clock.
    """
    limits = load_limits()
    starts = day_ns(first, "--from") if first is not None else None
    until = day_ns(last, "--to", after=True) if last is not None else None
    everything = open_feed(source, (), lake)
    chosen = open_feed(source, symbols, lake) if symbols else everything
    moments = np.unique(everything.bars["ts"])
    if len(moments) <= warm_up:
        raise InputError(
            f"{everything.name} holds {len(moments)} {_moments(everything)}: the warm-up alone "
            f"takes {warm_up} ('sapphire backtest' takes --warm-up)"
        )
    models_from = int(moments[warm_up])
    first_traded = models_from
    if starts is not None:
        first_traded = starts
        if starts + DAY_NS <= models_from:
            raise InputError(
                f"--from {first} lies inside the warm-up: give {_day(models_from)} or later"
            )
    bars = chosen.bars
    if until is not None:
        bars = bars[bars["ts"] < until]
    if not (bars["ts"] >= first_traded).any():
        held = f"{_day(int(moments[0]))} to {_day(int(moments[-1]))}"
        raise InputError(f"--from/--to leave no bar to trade: the data run from {held}")
    latest = int(bars["ts"].max())
    feed = replace(
        chosen,
        bars=bars,
        quarantined_at=tuple(moment for moment in chosen.quarantined_at if moment[0] <= latest),
        content_hash=hashlib.sha256(bars.tobytes()).hexdigest(),
    )
    history = everything.bars[everything.bars["ts"] <= latest]
    fit_bars = history[history["ts"] < models_from]
    months = months_between(feed.bars_per_year) if retrain_months is None else retrain_months
    retrained_at = tuple(retraining_moments(models_from, latest, months))
    return Plan(feed, fit_bars, history, retrained_at, models_from, first_traded, limits, seed)


@dataclass(frozen=True)
class FittedModels:
    """What a plan's bars gave: the warm-up's models, and those that replace them later."""

    warm_up: dict[str, Floats]
    schedule: list[tuple[int, dict[str, Floats]]] = field(default_factory=list)

    def sets(self, models_from: int) -> list[tuple[int, dict[str, Floats]]]:
        """(moment from which it is in force, all models) of each set, as a backtest takes them."""
        sets = [(models_from, self.warm_up)]
        for since, models in self.schedule:
            sets.append((since, {**sets[-1][1], **models}))
        return sets


def save_models(
    connection: psycopg.Connection, trained_until: int, models: dict[str, Floats]
) -> dict[str, str]:
    """Stores fitted models; their names by agent."""
    return {
        agent: save_model(connection, agent, HORIZON, trained_until, params)
        for agent, params in models.items()
    }


def record_session(
    connection: psycopg.Connection, plan: Plan, fitted: FittedModels, now: datetime
) -> SessionConfig:
    """Stores the models and the session; returns what was recorded."""
    names = save_models(connection, plan.models_from, fitted.warm_up)
    schedule = [
        ModelSet(since=since, models=save_models(connection, since, models))
        for since, models in fitted.schedule
    ]
    config = session_config(plan.feed, names, plan.limits, now, "historical")
    config = msgspec.structs.replace(
        config,
        first_traded=plan.first_traded,
        models_from=plan.models_from,
        data_name=plan.feed.name,
        data_hash=plan.feed.content_hash,
        rounds=len(np.unique(plan.feed.bars["ts"])),
        seed=plan.seed,
        schedule=schedule,
    )
    save_session(connection, config)
    return config


def session_config(
    feed: Feed,
    models: dict[str, str],
    limits: RiskLimits,
    now: datetime,
    mode: str,
) -> SessionConfig:
    """A session over a feed's symbols, with its units and the house's defaults."""
    session_id = f"{mode[0]}{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    sizing = SizingParams(
        horizon=HORIZON,
        bars_per_year=feed.bars_per_year,
        risk_multiplier=limits.risk_multiplier,
    )
    return SessionConfig(
        session_id=session_id,
        account=f"paper-{session_id}",
        cell=0,
        mode=mode,
        group=feed.group,
        symbols=list(feed.symbols),
        currency=feed.currency,
        tick=str(feed.tick),
        micro_per_tick=feed.micro_per_tick,
        opening_micro=to_micro(OPENING_CASH),
        horizon=HORIZON,
        bars_per_year=round(feed.bars_per_year),
        first_traded=0,
        models_from=0,
        models=models,
        data_name="",
        data_hash="",
        rounds=0,
        seed=0,
        limits=limits.model_dump(mode="json"),
        sizing=asdict(sizing),
        costs=asdict(COSTS),
        pool=asdict(PoolParams(horizon=HORIZON)),
        vote_deadline_s=VOTE_DEADLINE_S if mode == "historical" else LIVE_VOTE_DEADLINE_S,
        approval_ttl_s=APPROVAL_TTL_S if mode == "historical" else 10.0,
        fingerprint=fingerprint(),
    )


def _moments(feed: Feed) -> str:
    return "dates" if feed.clock == "1d" else f"moments of {feed.clock} bars"


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()
