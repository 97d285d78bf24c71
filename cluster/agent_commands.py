"""``sapphire agents`` and ``sapphire upgrade``."""

from __future__ import annotations

from typing import Annotated

import typer

from data.errors import InputError

agents = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The six agents of the running cluster."
)


@agents.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show each agent's actor and whether its code is that on disk; exit 1 when one is down."""
    from cluster.upgrade import list_agents

    raise typer.Exit(list_agents(as_json=as_json))


@agents.command("upgrade")
def upgrade_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Agents; all when absent.")
    ] = None,
) -> None:
    """Bring agents to the code on disk, without a lost round."""
    from cluster.upgrade import upgrade_agents

    raise typer.Exit(upgrade_agents(names or []))


def upgrade(
    what: Annotated[str, typer.Argument(metavar="coordinator", help="What to replace.")],
) -> None:
    """Replace the coordinator by the code on disk; requests wait or get 503 meanwhile."""
    from cluster.upgrade import COORDINATOR, upgrade_coordinator

    if what != COORDINATOR:
        raise InputError(f"upgrade {what!r}: give coordinator; agents: 'sapphire agents upgrade'")
    raise typer.Exit(upgrade_coordinator())
