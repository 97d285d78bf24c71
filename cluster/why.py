"""``sapphire why``: one decision's story in plain words, from PostgreSQL alone."""

from __future__ import annotations

import asyncio

import psycopg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.database import database
from cluster.home import Home
from cluster.processes import ServiceError
from cluster.settings import load_cluster
from data.errors import InputError
from serve_apps.reading_records import (
    ApprovalReading,
    BarReading,
    DecisionReading,
    Judgement,
    OrderReading,
    VoteReading,
)
from serve_apps.readings import Readings
from serve_apps.story import DecisionId, parse_id
from serve_apps.wire import Refused

_SIDES = {1: "buy", -1: "sell", 0: "nothing"}


def why(decision: str) -> int:
    """Prints the story; InputError for an id that is none or that is not in the journal."""
    name = parse_id(decision)
    settings = load_cluster()
    home = Home(settings.home)
    with database(settings, home, "read") as url:
        story = read_story(url, name)
    show(story, Console())
    return 0


def read_story(url: str, name: DecisionId) -> DecisionReading:
    """The story as the journal has it; ServiceError when the journal cannot be read."""

    async def ask() -> DecisionReading:
        readings = Readings(url, 0)  # a decision's own cell stands in its row
        try:
            return await readings.decision(name)
        finally:
            await readings.close()

    try:
        return asyncio.run(ask())
    except Refused as refused:
        if refused.problem.status == 404:
            raise InputError(f"decision {name} is not recorded here: check the id") from None
        raise ServiceError(refused.problem.detail) from None
    except psycopg.Error as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ServiceError(f"the journal cannot be read: {reason[0]}") from None


def show(story: DecisionReading, console: Console) -> None:
    """The story, part by part, each with what it means."""
    console.print(f"[bold]{escape(story.symbol)}[/bold] at {story.time}")
    console.print(
        f"round {story.round} of session {story.session_id} ({story.mode}, cell {story.cell})"
    )
    console.print(f"\n[bold]The bar.[/bold] {_bar(story.bar)}")
    for item in story.news:
        console.print(f"[bold]News[/bold] {escape(item.id)}: {escape(item.text)}")
    if story.judgement is None:
        console.print(f"\n[bold]No verdict.[/bold] {_UNJUDGED[story.state]}")
        return
    console.print(
        f"\n[bold]The votes[/bold] on where the price goes in the next {story.horizon} bars:"
    )
    console.print(_table(story.votes))
    if story.equal_weight is not None:
        console.print(
            f"The other {story.equal_weight:.1%} of the weight says what all voters say on average."
        )
    console.print(f"\n[bold]Together.[/bold] {_together(story.judgement)}")
    console.print(f"[bold]The verdict.[/bold] {_verdict(story.judgement, story.epoch)}")
    console.print(f"[bold]What followed.[/bold] {_followed(story.approval, story.orders)}")


_UNJUDGED = {
    "open": "Its round is still open: the gate has not judged it yet.",
    "aborted": "Its round was closed as aborted after a crash: nothing of it may trade.",
}


def _bar(bar: BarReading) -> str:
    text = (
        f"It opened at {bar.open}, went as high as {bar.high} and as low as {bar.low}, "
        f"and closed at {bar.close}, on {bar.volume:,} lots"
    )
    if bar.buy_volume is not None:
        text += f" ({bar.buy_volume:,} bought at the ask)"
    if bar.bid is not None and bar.ask is not None:
        text += f"; quoted {bar.bid} to {bar.ask}"
    return text + "."


def _table(votes: list[VoteReading]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("agent", "vote", "down", "flat", "up", "weight"):
        table.add_column(column, justify="left" if column in {"agent", "vote"} else "right")
    table.add_column("because", overflow="fold")
    for vote in votes:
        said = vote.status if vote.reason == "none" else vote.reason.replace("_", " ")
        chances = ["", "", ""] if vote.p is None else [f"{p:.1%}" for p in vote.p]
        reasons = ", ".join(
            f"{name} {value:.4g}" for name, value in vote.evidence.items() if value is not None
        )
        table.add_row(vote.agent, said, *chances, f"{vote.weight:.1%}", escape(reasons))
    return table


def _together(judged: Judgement) -> str:
    if not judged.agents_awake:
        return "Nobody was awake, so there is no forecast."
    down, flat, up = judged.p
    return (
        f"Down {down:.1%}, flat {flat:.1%}, up {up:.1%}: {judged.agents_awake} agents awake with "
        f"{judged.awake_weight:.1%} of the weight, dissent {judged.dissent:.3f}; "
        f"the price moves {judged.sigma:.2%} a bar."
    )


def _verdict(judged: Judgement, epoch: int | None) -> str:
    held = f"{judged.net_lots:,} lots held or on order, {judged.target_lots:,} wanted"
    code = f"{judged.code}: {judged.meaning}"
    if judged.verdict in {"approved", "reduced"} and judged.side:
        text = f"{judged.verdict}: {_SIDES[judged.side]} {judged.lots:,} lots, limit {judged.limit}"
        text += f" ({held})"
        return f"{text}; {code}." if judged.verdict == "reduced" else f"{text}; gate {epoch}."
    return f"{judged.verdict.replace('_', ' ')} ({held}); {code}."


def _followed(approval: ApprovalReading | None, orders: list[OrderReading]) -> str:
    if approval is None:
        return "No approval, so no order."
    text = f"An approval for at most {approval.max_lots:,} lots until {approval.expires_at}. "
    if not orders:
        return text + "The trader sent no order from it."
    return text + " ".join(_order(order) for order in orders)


def _order(order: OrderReading) -> str:
    text = (
        f"Order {order.client_order_id}: {_SIDES[order.side]} {order.lots:,} lots at "
        f"{order.limit} or better, {order.status}"
    )
    fills = "; ".join(f"{fill.lots:,} at {fill.price}, fee {fill.fee}" for fill in order.fills)
    return f"{text}; filled {fills}." if fills else f"{text}."
