"""``sapphire tune retrain|review``: the models of live sessions kept up to date, by hand."""

from __future__ import annotations

import getpass
import json
import sys
import time

from rich.console import Console

from cluster.database import database
from cluster.home import Home
from cluster.model_cache import fitted_models
from cluster.plan import plan_session
from cluster.settings import load_cluster
from data.bars import Bars
from data.errors import InputError
from data.records import SessionConfig
from data.sessions import latest_session, load_session, model_id
from data.store import connect
from tuning.champion_review import review_all
from tuning.decay import DecayRules
from tuning.model_schedule import PREDICTOR
from tuning.retrain import retrain_predictor


def declared_fit_bars(home: Home, config: SessionConfig) -> Bars | None:
    """The bars that the session's own predictor was fitted on; None when they are not at hand.

    ``sapphire up`` fits on the sample's warm-up, and a session does not name its bars; so they
    count as its own only if they give, to the bit, the model that the session declares. The models
    are kept in the home, hence fitted once at most.
    """
    declared = config.models.get(PREDICTOR)
    plan = plan_session(None, None, (), None, config.seed)
    if declared is None or plan.models_from != config.models_from:
        return None
    params = fitted_models(home, plan)[PREDICTOR]
    same = model_id(PREDICTOR, config.horizon, plan.models_from, params) == declared
    return plan.fit_bars if same else None


def retrain(session: str, *, as_json: bool) -> int:
    """Trains a session's predictor again on what the session has seen."""
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "ops") as url, connect(url, name="sapphire-retrain") as link:
        name = latest_session(link) if session == "last" else session
        if name is None:
            raise InputError("there is no session yet: start one with 'sapphire up'")
        config = load_session(link, name)
        fit_bars = declared_fit_bars(home, config)
        change = retrain_predictor(
            link, config, time.time_ns(), by=getpass.getuser(), fit_bars=fit_bars
        )
    human = Console(stderr=True) if as_json else Console()
    if change is None:
        text = (
            "nothing to do: a champion is in force, no bar is new, or there are too few to train on"
        )
    else:
        text = f"{change.agent}: model {change.model[:12]} is in force: {change.reason}"
    human.print(f"session {name}: {text}", highlight=False, soft_wrap=True)
    if as_json:
        model = None if change is None else change.model
        sys.stdout.write(json.dumps({"session": name, "model": model}) + "\n")
    return 0


def review(confidence: float, *, as_json: bool) -> int:
    """Judges every champion in force by live evidence, and demotes those that have decayed."""
    rules = DecayRules(confidence=confidence)
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "ops") as url, connect(url, name="sapphire-review") as link:
        found = review_all(link, rules, getpass.getuser())
    human = Console(stderr=True) if as_json else Console()
    for each in found:
        human.print(str(each), highlight=False, soft_wrap=True)
    if not found:
        human.print("no champion is in force")
    if as_json:
        rows = [
            {
                "agent": each.agent,
                "model": each.standing.model,
                "demoted": each.demoted is not None,
                "why": each.decay.text if each.decay else "",
            }
            for each in found
        ]
        sys.stdout.write(json.dumps({"reviews": rows}) + "\n")
    return 0
