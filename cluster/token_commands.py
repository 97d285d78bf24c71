"""``sapphire token create|list|revoke``: who may ask the HTTP surfaces."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, list and revoke the access tokens of the HTTP surfaces.",
)


@app.command("create")
def create_command(
    name: Annotated[str, typer.Option("--name", help="Whose it is, for people.")],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help="read, decide or operate; give the option several times."),
    ],
    rate: Annotated[int, typer.Option("--rate", help="Requests a second.")] = 1_000,
) -> None:
    """Make a token and print it, once: it is kept nowhere. Nothing else goes to stdout."""
    from cluster.token_view import create

    create(name, scopes, rate)


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List all tokens, revoked ones too; never their secrets."""
    from cluster.token_view import show

    show(as_json)


@app.command("revoke")
def revoke_command(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As 'sapphire token list' says.")],
) -> None:
    """Revoke a token. A running coordinator refuses it within about two seconds."""
    from cluster.token_view import revoke

    revoke(token_id)
