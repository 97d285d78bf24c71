"""The supervisor over parts that a test lets die, on a clock that a test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.processes import Clock, ServiceError
from cluster.supervisor import MOST_RESTARTS, WINDOW_S, Part, Supervisor


class Server:
    """A part: ``refuse`` starts fail, then it lives until it is killed."""

    def __init__(self, name: str, refuse: int = 0) -> None:
        self.name = name
        self.living = True
        self.starts = 0
        self._refuse = refuse

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self._refuse:
            raise ServiceError("no")
        self.living = True

    def part(self) -> Part:
        return Part(self.name, lambda: self.living, self.start, Path("log"))


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda _: None)


def test_what_lives_is_left_alone() -> None:
    server, said = Server("db"), list[str]()
    supervisor = Supervisor([server.part()], said.append)
    supervisor.look()
    assert (server.starts, said, supervisor.restarts) == (0, [], {})


def test_a_dead_part_is_started_again_said_and_counted() -> None:
    server, said, counted = Server("db"), list[str](), list[dict[str, int]]()
    supervisor = Supervisor([server.part()], said.append, counted.append, Time().clock())
    server.living = False
    supervisor.look()
    assert server.living
    assert counted == [{"db": 1}]
    assert supervisor.restarts == {"db": 1}
    assert said == ["db died: starting it again", "db runs again after 0.0 s"]


def test_a_start_that_fails_is_tried_again_after_a_pause() -> None:
    server, time = Server("db", refuse=1), Time()
    supervisor = Supervisor([server.part()], lambda _: None, clock=time.clock())
    server.living = False
    supervisor.look()
    supervisor.look()
    assert server.starts == 1  # the pause is not over
    time.now += 0.6
    supervisor.look()
    assert (server.starts, server.living) == (2, True)


def test_parts_wait_for_the_ones_before_them() -> None:
    database, trader, time = Server("db", refuse=1), Server("trader"), Time()
    supervisor = Supervisor([database.part(), trader.part()], lambda _: None, clock=time.clock())
    database.living = trader.living = False
    supervisor.look()
    assert trader.starts == 0
    time.now += 1.0
    supervisor.look()
    assert (database.living, trader.living) == (True, True)


def test_it_gives_up_in_one_line_when_a_part_keeps_dying() -> None:
    server, time = Server("db"), Time()
    supervisor = Supervisor([server.part()], lambda _: None, clock=time.clock())
    for _ in range(MOST_RESTARTS):
        server.living = False
        time.now += WINDOW_S / 6
        supervisor.look()
    server.living = False
    time.now += 9.0
    with pytest.raises(ServiceError, match=r"db was started 5 times within 60 s and died again"):
        supervisor.look()


def test_deaths_that_lie_far_apart_do_not_add_up() -> None:
    server, time = Server("db"), Time()
    supervisor = Supervisor([server.part()], lambda _: None, clock=time.clock())
    for _ in range(3 * MOST_RESTARTS):
        server.living = False
        time.now += WINDOW_S / (MOST_RESTARTS - 1)
        supervisor.look()
    assert supervisor.restarts == {"db": 3 * MOST_RESTARTS}


def test_a_part_that_cannot_be_started_again_ends_the_run() -> None:
    part = Part("Ray's raylet", lambda: False, None, Path("log"))
    with pytest.raises(ServiceError, match=r"Ray's raylet died .* \(see log\)"):
        Supervisor([part], lambda _: None).look()
