"""The packed output record: every bit back, and unequal lengths never pass for a round."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import encode, output_decoder
from data.round_output import Decision, RoundOutput, packed_decisions

WIDTHS = [2, 0, 3]
floats = st.floats(allow_nan=False, width=64)
integers = st.integers(-(2**63), 2**63 - 1)


@st.composite
def a_decision(draw: st.DrawFn) -> Decision:
    """Any decision of three agents; one that is late (2) or failed (3) has no evidence."""
    status = draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))
    plain = {
        name: draw(floats if kind == "float" else integers)
        for name, kind in Decision.__annotations__.items()
        if kind in ("int", "float")
    }
    return Decision(
        votes=[[draw(floats) for _ in range(3)] for _ in WIDTHS],
        status=status,
        reason=draw(st.lists(st.integers(0, 5), min_size=3, max_size=3)),
        evidence=[
            [] if code in (2, 3) else [draw(floats) for _ in range(width)]
            for code, width in zip(status, WIDTHS, strict=True)
        ],
        p=[draw(floats) for _ in range(3)],
        **plain,
    )


def an_output(decisions: list[Decision]) -> RoundOutput:
    return RoundOutput(
        session_id="s", cell=0, round=7, epoch=2, clock_ns=5, agents=["a", "b", "c"], widths=WIDTHS,
        **packed_decisions(decisions, WIDTHS), weights=[0.25] * 4, stepped=True,
        window={"open": True, "sigma": np.array([0.5]).tobytes(), "symbols": bytes(8)},
    )  # fmt: skip


@given(st.lists(a_decision(), min_size=1, max_size=4))
def test_every_bit_comes_back(decisions: list[Decision]) -> None:
    output = an_output(decisions)
    again = output_decoder.decode(encode(output))
    assert again == output
    # Bytes, because -0.0 equals 0.0.
    assert msgspec.json.encode(again.decisions) == msgspec.json.encode(decisions)
    assert again.with_decisions(again.decisions) == output
    assert RoundOutput.from_readable(output.readable()) == output


def test_the_readable_window_shows_numbers() -> None:
    assert an_output([]).readable()["window"] == {"open": True, "sigma": [0.5], "symbols": [0]}


@pytest.mark.parametrize("column", ["table", "votes", "status", "reason", "evidence"])
def test_columns_of_unequal_length_are_refused(column: str) -> None:
    some = Decision(
        **{
            name: 0
            for name, kind in Decision.__annotations__.items()
            if kind in ("int", "float")
        },
        votes=[[0.0] * 3] * 3, status=[0] * 3, reason=[0] * 3, evidence=[[0.0] * n for n in WIDTHS],
        p=[0.0] * 3,
    )  # fmt: skip
    output = an_output([some, some])
    cut = msgspec.structs.replace(output, **{column: getattr(output, column)[:-1]})
    with pytest.raises(ValueError, match=r"size|multiple"):
        cut.arrays()
