"""Whatever is scheduled and changed: no round gets a model that knows its own time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support import plain_config

from data.models_in_force import ModelChange, RecordedChange, models_in_force
from data.records import ModelSet

AGENTS = ("trend_momentum", "market_prediction", "vpin_hft")
MOMENTS = st.integers(0, 50)


@st.composite
def changes(draw: st.DrawFn) -> list[RecordedChange]:
    """Of any agent, some to its own model again, some for other groups or sessions.

    A model's name is its agent and the moment it was trained until.
    """
    made = []
    for seq in range(draw(st.integers(0, 8))):
        agent, until = draw(st.sampled_from(AGENTS)), draw(MOMENTS)
        body = ModelChange(
            agent=agent,
            model=draw(st.sampled_from(["", f"{agent}/{until}"])),
            trained_until=until,
            group=draw(st.sampled_from(["us-equity-daily", "other"])),
            horizon=5,
            bars_per_year=252,
            cause="promoted",
            reason="r",
            by="b",
        )
        made.append(RecordedChange(seq, draw(st.sampled_from(["", "s", "another"])), body))
    return made


@given(
    st.sampled_from(["paper", "historical"]),
    st.lists(MOMENTS, unique=True).map(sorted),
    changes(),
    MOMENTS,
)
def test_no_model_was_trained_after_the_round(
    mode: str, sinces: list[int], recorded: list[RecordedChange], ts: int
) -> None:
    schedule = [
        ModelSet(since=since, models={"market_prediction": f"market_prediction/{since}"})
        for since in sinces
    ]
    config = plain_config(
        models=dict.fromkeys(AGENTS, "own/10"), session_id="s", mode=mode, models_from=10,
        schedule=schedule,
    )  # fmt: skip
    models = models_in_force(config, recorded, ts)
    assert all(int(name.split("/")[1]) <= ts for name in models.values())
    assert set(models) == (set(AGENTS) if ts >= 10 else set())
    # What is meant for others changes nothing, and neither does what was recorded for later.
    mine = [
        r for r in recorded
        if r.session_id == "s" or (r.session_id == "" and mode == "paper"
                                   and r.change.group == "us-equity-daily")
    ]  # fmt: skip
    assert models_in_force(config, mine, ts) == models
    due = [r for r in recorded if r.change.trained_until <= ts]
    assert models_in_force(config, due, ts) == models
    # The newest that is due and concerns it decides for each agent.
    for agent in AGENTS if ts >= 10 else ():
        last = [r.change.model for r in mine if r in due and r.change.agent == agent][-1:]
        if last and last[0]:
            assert models[agent] == last[0]
        else:
            assert models[agent] == models_in_force(config, [], ts)[agent]
