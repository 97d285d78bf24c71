"""What is in force after any sequence of promotions, rollbacks and demotions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support import plain_config

from data.models_in_force import (
    DEMOTED,
    PROMOTED,
    RETRAINED,
    ROLLED_BACK,
    ModelChange,
    RecordedChange,
    models_in_force,
    pile,
)
from tuning.champion_stack import Scope, demoted_models, step_back

AGENT = "strategy_optimization"
CONFIG = plain_config(models={AGENT: "own"}, mode="paper", models_from=0)
SCOPE = Scope(CONFIG.group, CONFIG.horizon, CONFIG.bars_per_year)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([PROMOTED, RETRAINED]), st.sampled_from("abcd")),
        st.tuples(st.sampled_from([ROLLED_BACK, DEMOTED]), st.just("")),
    ),
    max_size=30,
)


class Simple:
    """The same in a few lines: a list of models, the last one in force."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def step(self, cause: str, model: str) -> bool:
        """Whether anything changed."""
        if cause in (PROMOTED, RETRAINED):
            if self.models[-1:] != [model]:
                self.models.append(model)
            return True
        if not self.models:
            return False
        gone = self.models.pop()
        if cause == DEMOTED:
            kept = [each for each in self.models if each != gone]
            # Neighbours that become equal are one.
            self.models = [m for i, m in enumerate(kept) if i == 0 or kept[i - 1] != m]
        return True


def laid(cause: str, model: str) -> ModelChange:
    return ModelChange(
        agent=AGENT, model=model, trained_until=ord(model), group=SCOPE.group,
        horizon=SCOPE.horizon, bars_per_year=SCOPE.bars_per_year, cause=cause, reason="r", by="b",
        champion=f"champion {model}",
    )  # fmt: skip


@given(STEPS)
def test_records_and_a_simple_model_agree(steps: list[tuple[str, str]]) -> None:
    changes: list[RecordedChange] = []
    simple = Simple()
    demoted: set[str] = set()  # and not promoted again
    ever: set[str] = set()
    for cause, model in steps:
        if cause in (PROMOTED, RETRAINED):
            change: ModelChange | None = laid(cause, model)
            demoted.discard(model)
        else:
            change = step_back(changes, SCOPE, cause, "r", "b")
            if cause == DEMOTED and pile(changes):
                demoted.add(pile(changes)[-1].change.model)
                ever |= demoted
        assert simple.step(cause, model) is (change is not None)
        if change is None:
            assert pile(changes) == []
            continue
        assert change.cause == cause
        before = pile(changes)
        changes.append(RecordedChange(len(changes) + 1, "", change))
        assert demoted_models(changes) == ever
        standing = pile(changes)
        top = standing[-1].change.model if standing else ""
        assert top == (simple.models[-1] if simple.models else "")
        assert top not in demoted
        if top:  # What comes back says truly which champion it is and what it knows.
            assert change.model == top
            assert (change.champion, change.trained_until) == (f"champion {top}", ord(top))
        # A session reads the same out of the same records.
        read = models_in_force(CONFIG, changes, CONFIG.first_traded + 10**18)
        assert read[AGENT] == (top or "own")
        # So does one of old bars: what was taken off is off, even where its successor may not be.
        # A model that was rolled back may lie deeper in the pile, by an earlier promotion.
        off = set(demoted)
        if cause in (ROLLED_BACK, DEMOTED):
            off |= {before[-1].change.model} - {each.change.model for each in standing}
        for ts in range(ord("a") - 1, ord("d") + 1):
            assert models_in_force(CONFIG, changes, ts)[AGENT] not in off


def test_a_model_brought_back_from_beyond_the_history_stands_alone() -> None:
    older = laid(ROLLED_BACK, "z")
    standing = pile([RecordedChange(1, "", laid(PROMOTED, "a")), RecordedChange(2, "", older)])
    assert [each.change.model for each in standing] == ["z"]


WHOSE = st.sampled_from(["", CONFIG.session_id])
NAMED = Scope(SCOPE.group, SCOPE.horizon, SCOPE.bars_per_year, CONFIG.session_id)


OF_BOTH = st.lists(
    st.tuples(
        st.sampled_from([PROMOTED, RETRAINED, ROLLED_BACK, DEMOTED]),
        st.sampled_from("abcd"),
        WHOSE,
    ),
    max_size=20,
)


def said(
    changes: list[RecordedChange], cause: str, model: str, whose: str
) -> tuple[ModelChange | None, str]:
    """The change that a person makes there, and the model that it takes off."""
    if cause in (PROMOTED, RETRAINED):
        return laid(cause, model), ""
    about = [each for each in changes if whose or not each.session_id]
    lying = pile(about)
    change = step_back(about, NAMED if whose else SCOPE, cause, "r", "b")
    return change, lying[-1].change.model if lying else ""


@given(OF_BOTH)
def test_what_a_session_has_for_itself_outlives_what_its_kind_had(
    steps: list[tuple[str, str, str]],
) -> None:
    """The session itself takes nothing off here, so its own models all stay."""
    changes: list[RecordedChange] = []
    for cause, model, whose in steps:
        if whose and cause in (ROLLED_BACK, DEMOTED):
            continue
        change, gone = said(changes, cause, model, whose)
        if change is None:
            continue
        before = pile(changes)
        changes.append(RecordedChange(len(changes) + 1, whose, change))
        kinds = pile([each for each in changes if not each.session_id])
        after = pile(changes)
        assert [each for each in after if not each.session_id] == kinds
        own = [each for each in before if each.session_id]
        if cause == DEMOTED:
            own = [each for each in own if each.change.model != gone]
        elif whose:
            own.append(changes[-1])
        assert [each for each in after if each.session_id] == own
        assert [each.seq for each in after] == sorted(each.seq for each in after)
        top = after[-1].change.model if after else "own"
        assert models_in_force(CONFIG, changes, ord("d"))[AGENT] == top


@given(OF_BOTH)
def test_no_moment_has_a_demoted_model_whoever_demoted_it(
    steps: list[tuple[str, str, str]],
) -> None:
    changes: list[RecordedChange] = []
    for cause, model, whose in steps:
        change, gone = said(changes, cause, model, whose)
        if change is None:
            continue
        changes.append(RecordedChange(len(changes) + 1, whose, change))
        if cause == DEMOTED:
            assert gone in demoted_models(changes)
            for ts in range(ord("a") - 1, ord("d") + 1):
                assert models_in_force(CONFIG, changes, ts)[AGENT] != gone
        elif cause == ROLLED_BACK and whose:
            read = models_in_force(CONFIG, changes, ord("d"))
            assert read[AGENT] == (change.model or "own")
