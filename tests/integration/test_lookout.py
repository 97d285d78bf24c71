"""The lookout: why nothing may trade, read from the database every second."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support import CELL, Account, House, migrated, open_gate, open_session

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.records import SessionConfig
from serve_apps.link import Link
from serve_apps.lookout import OLDEST_S, Lookout

pytestmark = pytest.mark.integration


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


class Watch:
    """A lookout with hands on its clock and its session."""

    def __init__(self, url: str) -> None:
        self.now = 0.0
        self.config: SessionConfig | None = None
        self.link = Link(url, "test-lookout")
        self.lookout = Lookout(
            self.link,
            CELL,
            lambda: None if self.config is None else self.config.account,
            lambda: self.now,
        )

    async def why(self) -> str:
        await self.lookout.look()
        return self.lookout.why


def test_leases_are_needed_and_seen(house: House) -> None:
    config = open_session(house)

    async def story() -> None:
        watch = Watch(house.roles.coordinator)
        assert watch.lookout.why == "not looked yet"
        assert await watch.why() == "no gate holds the cell's lease"
        open_gate(house)
        assert await watch.why() == ""
        watch.config = config
        assert config.account in await watch.why()
        with Account(house, config):
            assert await watch.why() == ""
        assert config.account in await watch.why()
        await watch.link.close()

    asyncio.run(story())


def test_an_old_look_and_an_unreadable_state_are_reasons(house: House) -> None:
    open_gate(house)

    async def story() -> None:
        watch = Watch(house.roles.coordinator)
        assert await watch.why() == ""
        watch.now += OLDEST_S + 1
        assert "was not read" in watch.lookout.why
        assert await watch.why() == ""
        with house.connect() as link:
            link.execute("REVOKE SELECT ON trading_state FROM sapphire_read")
        assert "cannot be read: InsufficientPrivilege" in await watch.why()
        await watch.link.close()

    asyncio.run(story())
