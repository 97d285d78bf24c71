"""The predictor of a session that trades now, trained again on what the session has seen.

The new model is an immutable row, and a change of cause ``retrained`` names it in the operations
chain: the session's next round goes by it, without a restart, and replay finds it there.
"""

from __future__ import annotations

import numpy as np
import psycopg

from actors.registry import AGENTS
from data import round_log
from data.bars import Bars, empty_bars
from data.errors import InputError
from data.journal import OPERATIONS, read_chain
from data.model_changes import append_change, model_with_params
from data.models_in_force import RETRAINED, ModelChange
from data.records import SessionConfig, input_decoder
from data.sessions import model_id, save_model
from serve_apps.model_changes import ModelChanges
from tuning.fit_predictor import fit_samples
from tuning.model_schedule import PREDICTOR, thinned_samples

_EVER = 2**62  # no round has this number
# With fewer rows a session's own bars alone train nothing: what was fitted on years of bars would
# give way to what some weeks of them show.
LEAST_ALONE = 2_000


def retrain_predictor(
    connection: psycopg.Connection,
    config: SessionConfig,
    now_ts: int,
    *,
    by: str,
    fit_bars: Bars | None = None,
) -> ModelChange | None:
    """Trains on the session's bars strictly before ``now_ts`` (ns UTC), and records the change.

    connection  in autocommit, of a role that may write models and operations
    by          who asked
    fit_bars    the bars that the session's own models were fitted on: they go in front, those of
                before the session's first bar, as symbols of their own; None: not known

    None, and nothing is recorded, when the rows are too few (LEAST_ALONE without ``fit_bars``),
    when no bar is new since the model in force, and when that is a champion: it was proven, and
    only a demotion ends it. InputError when the session has ended.
    """
    if _ended(connection, config.session_id):
        raise InputError(f"session {config.session_id} has ended: nothing of it can change")
    bars = session_bars(connection, config, now_ts)
    if not len(bars):
        return None
    trained_until = int(bars["ts"][-1]) + 1
    if _is_settled(connection, config, trained_until):
        return None
    history = bars if fit_bars is None else in_front(fit_bars, bars, len(config.symbols))
    samples = thinned_samples(history, config.horizon)
    if fit_bars is None and len(samples.y) < LEAST_ALONE:
        return None
    params = fit_samples(samples, config.horizon, config.seed)
    if not len(params):
        return None
    change = ModelChange(
        agent=PREDICTOR,
        model=model_id(PREDICTOR, config.horizon, trained_until, params),
        trained_until=trained_until,
        group=config.group,
        horizon=config.horizon,
        bars_per_year=config.bars_per_year,
        cause=RETRAINED,
        reason=f"trained again on {len(history):,} bars, {len(bars):,} of them the session's own",
        by=by,
    )
    with connection.transaction():
        save_model(connection, PREDICTOR, config.horizon, trained_until, params)
        append_change(connection, change, config.session_id, trained_until)
    return change


def session_bars(connection: psycopg.Connection, config: SessionConfig, before: int) -> Bars:
    """All bars of the session's rounds with ts < ``before``, in (ts, symbol) order."""
    parts = [empty_bars(0)]
    for payload in round_log.inputs(connection, config.cell, config.session_id, 0, _EVER):
        rows = input_decoder.decode(payload).rows()
        parts.append(rows[rows["ts"] < before])
    bars = np.concatenate(parts)
    return bars[np.lexsort((bars["symbol"], bars["ts"]))]


def in_front(fit_bars: Bars, bars: Bars, symbols: int) -> Bars:
    """``fit_bars`` of before the first of ``bars``, their symbols numbered from ``symbols`` on."""
    earlier = fit_bars[fit_bars["ts"] < bars["ts"][0]].copy()
    earlier["symbol"] += symbols
    return np.concatenate([earlier, bars])


def _ended(connection: psycopg.Connection, session_id: str) -> bool:
    query = "SELECT 1 FROM session_end WHERE session_id = %s"
    return connection.execute(query, (session_id,)).fetchone() is not None


def _is_settled(connection: psycopg.Connection, config: SessionConfig, until: int) -> bool:
    """Whether the model in force at ``until`` is a champion, or knows all bars before it."""
    changes = ModelChanges(config, AGENTS, lambda name: model_with_params(connection, name))
    for record in read_chain(connection, OPERATIONS):
        changes.take([record], record.seq)
    change = changes.changed(PREDICTOR, until)
    return change is not None and (change.champion != "" or change.trained_until == until)
