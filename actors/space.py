"""Search spaces: which values a parameter may take, declared beside the parameters themselves.

    Space({"fast": Integer(2, 60, default=20), "slow": Integer(5, 126, default=50)},
          [Constraint("fast < slow", lambda c: c["fast"] < c["slow"])])

A configuration is a plain dict of the active parameters. Every parameter maps to the unit interval
(its own scale, logarithmic where it says so), which is where distances and neighbours are measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError

Value = float | int | str
Config = dict[str, Value]

SAMPLE_TRIES = 1_000  # draws before a space counts as contradictory
MOST_GRID = 1_000_000  # configurations in a grid


@dataclass(frozen=True, kw_only=True)
class When:
    """The parameter exists only where ``parameter`` has this value."""

    parameter: str
    equals: Value


@dataclass(frozen=True)
class Real:
    """A number in [low, high]; ``log`` for scales of magnitude."""

    low: float
    high: float
    default: float
    log: bool = False
    when: When | None = None

    def flaw(self) -> str:
        """What is wrong with the declaration; empty when nothing is."""
        return _range_flaw(self.low, self.high, self.default, self.log)

    def holds(self, value: Value) -> bool:
        """Whether it is a value of this parameter."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def at(self, u: float) -> Value:
        """The value at ``u`` in [0, 1)."""
        if self.log:
            spread = math.log(self.high) - math.log(self.low)
            value = math.exp(math.log(self.low) + u * spread)
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def unit(self, value: Value) -> float:
        """Where the value stands in [0, 1]."""
        return _place(float(value), self.low, self.high, self.log)

    def points(self, most: int) -> list[Value]:
        """At most ``most`` values, evenly spread over the scale, both ends included."""
        if self.low == self.high:
            return [self.low]
        if most == 1:
            return [self.default]
        inner = [self.at(i / (most - 1)) for i in range(1, most - 1)]
        return list(dict.fromkeys([self.low, *inner, self.high]))


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high]."""

    low: int
    high: int
    default: int
    log: bool = False
    when: When | None = None

    def flaw(self) -> str:
        """What is wrong with the declaration; empty when nothing is."""
        if any(not isinstance(v, int) for v in (self.low, self.high, self.default)):
            return "its bounds and default must be whole numbers"
        return _range_flaw(self.low, self.high, self.default, self.log)

    def holds(self, value: Value) -> bool:
        """Whether it is a value of this parameter."""
        whole = _is_number(value) and float(value).is_integer()
        return whole and self.low <= float(value) <= self.high

    def at(self, u: float) -> Value:
        """The value at ``u`` in [0, 1): every whole number has an equal share of a linear scale."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + u * (high - low)))
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)

    def unit(self, value: Value) -> float:
        """Where the value stands in [0, 1]."""
        return _place(float(value), self.low, self.high, self.log)

    def points(self, most: int) -> list[Value]:
        """At most ``most`` values, evenly spread over the scale, both ends included."""
        if most == 1:
            return [self.default]
        count = min(most, self.high - self.low + 1)
        if count == 1:
            return [self.low]
        places = Real(self.low, self.high, self.low, self.log).points(count)
        return list(dict.fromkeys(round(float(place)) for place in places))


@dataclass(frozen=True)
class Choice:
    """One of a few options without an order."""

    options: tuple[Value, ...]
    default: Value
    when: When | None = None

    def flaw(self) -> str:
        """What is wrong with the declaration; empty when nothing is."""
        if not self.options:
            return "it offers no option"
        if len(set(self.options)) < len(self.options):
            return "an option stands twice"
        return "" if self.default in self.options else "its default is none of its options"

    def holds(self, value: Value) -> bool:
        """Whether it is a value of this parameter."""
        return value in self.options

    def at(self, u: float) -> Value:
        """The option at ``u`` in [0, 1), each with an equal share."""
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]

    def unit(self, value: Value) -> float:
        """Where the option stands in [0, 1]; the distance of two options means nothing."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def points(self, most: int) -> list[Value]:
        """All options, however many are asked for: none can stand for another."""
        return list(self.options) if most > 0 else []


Parameter = Real | Integer | Choice


@dataclass(frozen=True)
class Constraint:
    """A relation between parameters; ``text`` tells it. Not asked where one of them is inactive."""

    text: str
    holds: Callable[[Config], bool]


class Space:
    """Parameters by name, in a declared order, and the relations between them.

    InputError when it is empty or contradictory: a flawed range, a condition on a later or unknown
    parameter, a default that breaks a constraint.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], constraints: Sequence[Constraint] = ()
    ) -> None:
        self.parameters: dict[str, Parameter] = dict(parameters)
        self.constraints = tuple(constraints)
        if not self.parameters:
            raise InputError("the search space is empty: give it at least one parameter")
        seen: set[str] = set()
        for name, parameter in self.parameters.items():
            flaw = parameter.flaw() or _condition_flaw(parameter.when, seen, self.parameters)
            if flaw:
                raise InputError(f"search space, {name}: {flaw}")
            seen.add(name)
        broken = self.broken(self.default())
        if broken:
            raise InputError(f"search space: the defaults contradict '{broken}'")

    def __len__(self) -> int:
        return len(self.parameters)

    def __repr__(self) -> str:
        return f"Space({', '.join(self.parameters)})"

    def default(self) -> Config:
        """The declared defaults, active parameters only."""
        return self._build(lambda parameter, _: parameter.default)

    def from_unit(self, u: Sequence[float]) -> Config:
        """The configuration at a point of the unit cube (d,), whether or not a constraint holds."""
        return self._build(lambda parameter, i: parameter.at(u[i]))

    def unit(self, config: Config) -> NDArray[np.float64]:
        """The configuration's place in the unit cube, (d,); 0.5 for an inactive parameter."""
        row = np.full(len(self.parameters), 0.5)
        for i, (name, parameter) in enumerate(self.parameters.items()):
            if name in config:
                row[i] = parameter.unit(config[name])
        return row

    def sample(self, rng: np.random.Generator) -> Config:
        """One configuration, uniform over the cube where the constraints hold.

        InputError after SAMPLE_TRIES draws of which none did.
        """
        for _ in range(SAMPLE_TRIES):
            config = self.from_unit(rng.random(len(self.parameters)).tolist())
            if not self.broken(config):
                return config
        raise InputError(
            f"search space: none of {SAMPLE_TRIES} draws meets"
            f" {', '.join(repr(each.text) for each in self.constraints)}: widen it"
        )

    def grid(self, points: int) -> list[Config]:
        """Every combination of at most ``points`` values of each parameter that is allowed.

        InputError when nothing is left, or when there are more than MOST_GRID.
        """
        axes = [parameter.points(points) for parameter in self.parameters.values()]
        if math.prod(len(axis) for axis in axes) > MOST_GRID:
            raise InputError(
                f"a grid of {points} points a parameter has more than {MOST_GRID:,} configurations:"
                " give fewer points or another searcher"
            )
        found: dict[tuple[tuple[str, Value], ...], Config] = {}
        for values in itertools.product(*axes):
            config = self._build(_chosen(values))
            if not self.broken(config):
                found.setdefault(tuple(config.items()), config)
        if not found:
            raise InputError(f"a grid of {points} points leaves no allowed configuration")
        return list(found.values())

    def broken(self, config: Config) -> str:
        """The text of a constraint that does not hold; empty when all do."""
        for constraint in self.constraints:
            try:
                holds = constraint.holds(config)
            except KeyError:
                continue  # One of its parameters is inactive here.
            if not holds:
                return constraint.text
        return ""

    def check(self, config: Mapping[str, Any]) -> Config:
        """The configuration in the space's order; InputError names what is wrong with it."""
        odd = [name for name in config if name not in self.parameters]
        if odd:
            raise InputError(
                f"no parameter is called {', '.join(odd)}: there are {', '.join(self.parameters)}"
            )
        checked: Config = {}
        for name, parameter in self.parameters.items():
            if not _is_active(parameter.when, checked):
                if name in config:
                    raise InputError(f"{name} has no meaning in this configuration: leave it out")
                continue
            if name not in config or not parameter.holds(config[name]):
                raise InputError(f"{name}={config.get(name)!r} is no value of {parameter}")
            value = config[name]
            checked[name] = int(value) if isinstance(parameter, Integer) else value
        if text := self.broken(checked):
            raise InputError(f"the configuration breaks '{text}'")
        return checked

    def describe(self) -> dict[str, Any]:
        """The space in plain words and numbers, for records and their comparison."""
        return {
            "parameters": {name: repr(each) for name, each in self.parameters.items()},
            "constraints": [constraint.text for constraint in self.constraints],
        }

    def _build(self, value: Callable[[Parameter, int], Value]) -> Config:
        config: Config = {}
        for i, (name, parameter) in enumerate(self.parameters.items()):
            if _is_active(parameter.when, config):
                config[name] = value(parameter, i)
        return config


def _chosen(values: Sequence[Value]) -> Callable[[Parameter, int], Value]:
    return lambda _, i: values[i]


def _is_active(when: When | None, config: Config) -> bool:
    return when is None or config.get(when.parameter) == when.equals


def _condition_flaw(when: When | None, seen: set[str], parameters: Mapping[str, Parameter]) -> str:
    if when is None:
        return ""
    if when.parameter not in seen:
        return f"it depends on {when.parameter!r}, which must be declared before it"
    if not parameters[when.parameter].holds(when.equals):
        return f"it depends on {when.parameter} = {when.equals!r}, which it never is"
    return ""


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _range_flaw(low: float, high: float, default: float, log: bool) -> str:
    if not all(_is_number(value) for value in (low, high, default)):
        return "its bounds and default must be finite numbers"
    if low > high:
        return f"its range is empty: {low} is above {high}"
    if log and not low > 0:
        return "a logarithmic scale begins above 0"
    return "" if low <= default <= high else f"its default {default} lies outside"


def _place(value: float, low: float, high: float, log: bool) -> float:
    if low == high:
        return 0.5
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)
