"""The live view at 80 columns, on a pipe and on a real pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from cluster.live_view import AgentView, LiveState, LiveView, VerdictView, plain_line, render

STATE = LiveState(
    phase="trading",
    elapsed=63.4,
    done=1420,
    total=3270,
    left=82.0,
    event_date="2005-11-02",
    equity_micro=1_043_211_620_000,
    buy_and_hold_micro=1_210_000_440_000,
    drawdown=-0.062,
    gate_state="ACTIVE",
    epoch=3,
    agents=(
        AgentView("trend_momentum", 0.11, "MSFT", (0.25, 0.23, 0.52)),
        AgentView("strategy_optimization", 0.06, "MSFT", (0.35, 0.33, 0.32)),
        AgentView("financial_sentiment", 0.05, "MSFT", None, "abstains: no news"),
        AgentView("market_prediction", 0.31, "MSFT", (0.2, 0.55, 0.25)),
        AgentView("volume_microstructure", 0.05, "MSFT", (0.3, 0.36, 0.34)),
        AgentView("vpin_hft", 0.04, "MSFT", None, "abstains: warming up"),
    ),
    verdicts=(
        VerdictView("2005-11-02", "MSFT", "approved", "NONE", "buy 120"),
        VerdictView("2005-11-02", "GOOG", "denied", "TOXIC"),
    ),
    dashboard="http://127.0.0.1:8265",
    coordinator="http://127.0.0.1:8081",
    trader="http://127.0.0.1:8080",
)


def drawn(state: LiveState, width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(render(state, width))
    return console.export_text()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_eighty_by_twenty_four_shows_everything():
    text = drawn(STATE)
    lines = text.splitlines()
    assert len(lines) <= 23
    assert max(map(cell_len, lines)) <= 80
    for expected in (
        "trading",
        "1,420/3,270",
        "1:03 elapsed · 1:22 left",
        "2005-11-02",
        "equity 1,043,212",
        "buy-and-hold 1,210,000",
        "drawdown -6.2%",
        "gate ACTIVE",
        "epoch 3",
        "strategy optimization",
        "http://127.0.0.1:8265",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8080",
    ):
        assert expected in text, expected


def test_each_agent_shows_its_likeliest_outcome_and_weight():
    text = drawn(STATE)
    assert "↑ ↓.25 →.23 ↑.52" in line_with(text, "trend momentum")
    assert "11%" in line_with(text, "trend momentum")
    assert "→ ↓.20 →.55 ↑.25" in line_with(text, "market prediction")
    assert "↓ ↓.35" in line_with(text, "strategy optimization")
    assert "abstains: no news" in line_with(text, "financial sentiment")
    assert "↑" not in line_with(text, "financial sentiment")
    assert "buy 120" in line_with(text, "approved")
    assert "toxic" in line_with(text, "denied")


@pytest.mark.parametrize("width", [40, 80, 110, 200])
def test_never_wider_than_the_terminal(width):
    assert max(map(cell_len, drawn(STATE, width).splitlines())) <= width


def test_a_wide_terminal_puts_the_panels_side_by_side():
    wide = drawn(STATE, 140).splitlines()
    assert len(wide) < len(drawn(STATE).splitlines())
    assert any("last votes" in line and "gate" in line for line in wide)


def test_start_up_shows_the_phase_alone():
    text = drawn(LiveState(phase="starting PostgreSQL", elapsed=2.0))
    assert "starting PostgreSQL" in text
    assert "0:02 elapsed" in text
    assert "equity" not in text


def test_markup_in_text_is_shown_not_obeyed():
    state = replace(STATE, phase="[red]odd[/red]", verdicts=(VerdictView("d", "[b]", "denied"),))
    text = drawn(state)
    assert "[red]odd[/red]" in text
    assert "[b]" in text


def test_plain_line():
    assert plain_line(STATE) == (
        "sapphire 1:03 · trading · 1420/3270 (43%) · 2005-11-02 · equity 1,043,212 · "
        "buy-and-hold 1,210,000 · gate ACTIVE epoch 3 · 1:22 left"
    )


def test_a_pipe_gets_a_line_every_interval_and_at_each_new_phase():
    out, err, now = io.StringIO(), io.StringIO(), [100.0]
    with LiveView(lambda: now[0], interval=10.0, stdout=out, stderr=err) as view:
        for second in range(25):
            now[0] = 100.0 + second
            view.show(replace(STATE, elapsed=float(second), phase="A" if second < 13 else "B"))
        view.message("kept [line]")
    lines = err.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines[:4]] == [
        "sapphire 0:00",
        "sapphire 0:10",
        "sapphire 0:13",
        "sapphire 0:23",
    ]
    assert lines[4] == "kept [line]"
    assert out.getvalue() == ""


def drained(descriptor: int) -> str:
    """Everything that waits to be read; one read of a terminal returns a part of it."""
    os.set_blocking(descriptor, False)
    parts = []
    while True:
        try:
            parts.append(os.read(descriptor, 65536))
        except BlockingIOError:
            return b"".join(parts).decode("utf-8")


def on_terminal(machine: bool) -> tuple[str, str]:
    """(what a real terminal as both stdout and stderr showed on stdout, on stderr)."""
    texts, masters, streams = [], [], []
    for _ in range(2):
        master, slave = pty.openpty()
        masters.append(master)
        streams.append(os.fdopen(slave, "w", encoding="utf-8"))
    now = [0.0]
    with LiveView(lambda: now[0], machine=machine, stdout=streams[0], stderr=streams[1]) as view:
        view.show(STATE)
        now[0] = 1.0
        view.show(replace(STATE, phase="finished"))
        view.message("the end")
    for master, stream in zip(masters, streams, strict=True):
        stream.flush()
        texts.append(drained(master))
        stream.close()
        os.close(master)
    return texts[0], texts[1]


@pytest.mark.parametrize("machine", [False, True])
def test_a_terminal_is_redrawn_and_json_leaves_stdout_alone(machine):
    shown, silent = on_terminal(machine)[:: -1 if machine else 1]
    assert "trading" in shown
    assert "finished" in shown
    assert "the end" in shown
    assert "\x1b[" in shown
    assert silent == ""
