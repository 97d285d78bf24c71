"""Options that several commands of ``sapphire tune`` share."""

from __future__ import annotations

from typing import Annotated

import typer

from data.errors import InputError


def _given(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """An empty value is a variable that is not set in somebody's script, not a wish."""
    source = ctx.get_parameter_source(param.name or "")
    typed = source is not None and source.name != "DEFAULT"
    if typed and not value.strip():
        raise InputError("--storage is empty: give a directory or gs://BUCKET/PREFIX, or leave it")
    return value


Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        help="Directory or gs://BUCKET/PREFIX that keeps the studies.",
        callback=_given,
    ),
]
Workers = Annotated[int, typer.Option("--workers", help="Trials at a time; 0: one a CPU.", min=0)]
Executor = Annotated[str, typer.Option("--executor", help="ray, or here: this process alone.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="With --executor ray: a Ray cluster (HOST:PORT, or auto); else own."
    ),
]
