"""``sapphire halt``, ``resume`` and ``unlock``."""

from __future__ import annotations

import getpass

from rich.console import Console

from cloud_trader.control import EVERYWHERE, open_orders, set_state, states, unlock
from cluster.database import database
from cluster.home import Home
from cluster.settings import load_cluster
from data.errors import InputError
from data.store import connect


def set_everywhere(state: str, reason: str) -> int:
    """Sets the state of the whole system; prints what holds now and the orders in flight."""
    if not reason.strip():
        raise InputError("--reason is empty: say why")
    settings = load_cluster()
    home = Home(settings.home)
    console = Console()
    with database(settings, home, "ops") as url, connect(url, name="sapphire-operate") as link:
        seq = set_state(link, EVERYWHERE, state, reason, getpass.getuser())
        console.print(f"trading is {state} everywhere (operations record {seq}): {reason}")
        for other in states(link):
            if other.scope != EVERYWHERE and other.state != "ACTIVE":
                console.print(f"  {other.scope} stays {other.state}: {other.reason}")
        for key, symbol, side, lots in open_orders(link):
            word = "buy" if side > 0 else "sell"
            console.print(f"  in flight: {word} {lots} {symbol} ({key})")
    return 0


def unlock_symbol(symbol: str, reason: str) -> int:
    """Takes the symbol's lock back; 1 when no account holds one."""
    if not reason.strip():
        raise InputError("--reason is empty: say why")
    settings = load_cluster()
    home = Home(settings.home)
    console = Console()
    with database(settings, home, "ops") as url, connect(url, name="sapphire-operate") as link:
        accounts = unlock(link, symbol, reason, getpass.getuser())
    for account in accounts:
        console.print(f"{symbol} may trade again in {account}: {reason}")
    if not accounts:
        console.print(f"{symbol} is not locked in any account")
    return 0 if accounts else 1
