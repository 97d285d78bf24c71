"""The plain agent: growing state, models, news that waits, and the hash of its code."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actors import financial_sentiment, trend_momentum
from actors.agent import Agent, code_hash, sources, step_hash
from actors.contract import REASON, STATUS, AgentSpec, Reason, Status, no_params
from actors.registry import AGENTS
from cluster.warm import generated_bars
from data.bars import empty_bars
from data.news import News
from tuning.fit_models import fit_models

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400 * 10**9


def bars_of(*rows: tuple[int, int]) -> np.ndarray:
    bars = empty_bars(len(rows))
    for i, (ts, symbol) in enumerate(rows):
        bars["ts"][i], bars["symbol"][i] = ts, symbol
    for field in ("open", "high", "low", "close", "volume"):
        bars[field] = 1000
    return bars


def test_state_grows_with_the_symbols_and_keeps_what_it_knows() -> None:
    agent = Agent(trend_momentum.SPEC)
    agent.apply(bars_of((1, 0), (2, 0)))
    assert agent.state.shape == (1, trend_momentum.STATE_WIDTH)
    agent.apply(bars_of((3, 3)))
    assert agent.state[:, 0].tolist() == [2.0, 0.0, 0.0, 1.0]


def test_no_bars_no_votes() -> None:
    votes = Agent(trend_momentum.SPEC).apply(empty_bars(0))
    assert votes.shape == (0, trend_momentum.SPEC.out_width)


def test_the_votes_of_the_last_round_are_kept() -> None:
    agent = Agent(trend_momentum.SPEC)
    agent.apply(bars_of((1, 0)))
    assert agent.apply(bars_of((2, 0), (2, 1))) is agent.votes
    assert agent.votes.shape[0] == 2


def test_a_negative_symbol_and_a_model_that_is_no_row_are_refused() -> None:
    agent = Agent(trend_momentum.SPEC)
    with pytest.raises(ValueError, match="negative"):
        agent.apply(bars_of((1, -1)))
    with pytest.raises(ValueError, match="finite"):
        agent.set_model(np.array([np.nan]))
    with pytest.raises(ValueError, match="one row"):
        agent.set_model(np.zeros((2, 2)))


def test_a_model_is_copied_so_its_owner_cannot_change_it() -> None:
    agent, params = Agent(trend_momentum.SPEC), np.zeros(21)
    agent.set_model(params)
    params[0] = 9.0
    assert agent.params[0] == 0.0


def test_news_waits_for_the_first_bar_at_or_after_its_moment() -> None:
    agent = Agent(financial_sentiment.SPEC)
    item = News("a", 0, 2 * DAY, "Profit rose.")
    votes = agent.apply(bars_of((DAY, 0), (DAY, 1), (2 * DAY, 0), (2 * DAY, 1)), [item])
    assert votes[:, REASON].tolist() == [Reason.NO_NEWS, Reason.NO_NEWS, 0, Reason.NO_NEWS]
    assert votes[2, STATUS] == Status.VOTED
    assert agent.pending == {}


def test_news_of_one_moment_is_absorbed_in_the_order_of_its_ids() -> None:
    items = [
        News(name, 0, DAY, text)
        for name, text in (("b", "Sales fell."), ("a", "Profit rose on strong demand."))
    ]
    one, other = Agent(financial_sentiment.SPEC), Agent(financial_sentiment.SPEC)
    given = one.apply(bars_of((DAY, 0)), items)
    assert given.tobytes() == other.apply(bars_of((DAY, 0)), items[::-1]).tobytes()


def test_agents_without_an_ear_for_news_ignore_it() -> None:
    agent = Agent(trend_momentum.SPEC)
    agent.apply(bars_of((DAY, 0)), [News("a", 0, DAY, "Profit rose.")])
    assert agent.pending == {}


def test_the_six_agents_are_listed_in_order() -> None:
    assert [spec.name for spec in AGENTS] == [
        "trend_momentum",
        "strategy_optimization",
        "financial_sentiment",
        "market_prediction",
        "volume_microstructure",
        "vpin_hft",
    ]
    assert len({code_hash(spec) for spec in AGENTS}) == len(AGENTS)


def test_sources_hold_every_module_of_the_floors_that_is_really_loaded() -> None:
    """An independent list: what a fresh interpreter has loaded after importing the agent."""
    script = (
        "import sys, actors.financial_sentiment, actors.agent\n"
        "print('\\n'.join(m.__file__ for n, m in sorted(sys.modules.items())"
        " if n.split('.')[0] in ('actors', 'data')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    files = {Path(line).resolve() for line in loaded.stdout.split()}
    # The cache directory's module shapes no result, and packages hold no code of agents.
    code = {f for f in files if f.name not in ("__init__.py", "jit_cache.py")}
    found = set(sources(financial_sentiment.SPEC))
    assert code <= found
    assert all(ast.parse(path.read_bytes()) for path in found)


def test_the_hash_changes_with_code_that_the_step_depends_on_and_only_then(tmp_path: Path) -> None:
    for floor in ("data", "actors"):
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )

    def hashed() -> str:
        script = (
            "import actors.trend_momentum as m; from actors.agent import code_hash;"
            "print(code_hash(m.SPEC))"
        )
        run = subprocess.run(
            [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout.strip()

    def touch(name: str) -> None:
        path = tmp_path / name
        path.write_text(path.read_text() + "\n# changed\n")

    before = hashed()
    assert before == code_hash(trend_momentum.SPEC)
    touch("actors/sentiment.py")
    assert hashed() == before
    touch("data/features.py")
    assert hashed() != before


@pytest.mark.parametrize("spec", AGENTS, ids=lambda spec: spec.name)
def test_a_row_of_another_length_is_no_model(spec: AgentSpec) -> None:
    """Compiled steps check no bounds: such a row would be read beyond its end."""
    agent = Agent(spec)
    with pytest.raises(ValueError, match="is no model of it"):
        agent.set_model(np.ones(3))
    agent.set_model(no_params())


def test_trees_that_point_outside_of_the_features_are_no_model() -> None:
    (spec,) = [spec for spec in AGENTS if spec.name == "market_prediction"]
    model = fit_models(generated_bars(2, 420, 1), 5, 0)[spec.name]
    assert spec.fits(model)
    wrong = model.copy()
    wrong[9] = len(spec.evidence)  # the first node's feature
    assert not spec.fits(wrong)
    assert not spec.fits(model[:-1])


def test_the_step_hash_changes_with_the_step_and_not_with_what_applies_it(tmp_path: Path) -> None:
    """A change of the plain agent makes nobody a newcomer; one of the step, or of what it imports,
    does.
    """
    for floor in ("data", "actors"):
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )

    def hashed() -> list[str]:
        script = (
            "import actors.trend_momentum as m; from actors.agent import code_hash, step_hash;"
            "print(step_hash(m.SPEC), code_hash(m.SPEC))"
        )
        run = subprocess.run(
            [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout.split()

    def touch(name: str) -> None:
        path = tmp_path / name
        path.write_text(path.read_text() + "\n# changed\n")

    seen = [hashed()]
    assert seen[0] == [step_hash(trend_momentum.SPEC), code_hash(trend_momentum.SPEC)]
    for name in ("actors/agent.py", "actors/vpin_hft.py", "actors/trend_momentum.py"):
        touch(name)
        seen.append(hashed())
    touch("data/features.py")
    seen.append(hashed())
    steps, codes = zip(*seen, strict=True)
    assert steps[0] == steps[1] == steps[2]
    assert len({steps[2], steps[3], steps[4]}) == 3
    assert codes[0] != codes[1] == codes[2] != codes[3] != codes[4]
