"""Sums over a stretch of an array, four values at a time, in one declared order on every machine.

Value i of the stretch is in lane i mod 4, and the lanes are added at its end as (0 + 1) + (2 + 3).
A compiler that must keep the order of floating-point sums finds no such loop by itself, so each
fold is written here as LLVM vectors: its formula says what one step does to its running sums.

``fold(array, first, second, fours, a, b)`` runs over ``array[first : first + 4 fours]`` and, beside
it, ``array[second : second + 4 fours]``, with two numbers a and b; nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from data.vector_math import DOUBLES, LANES, LONGS, joined, split


class Step(NamedTuple):
    """What a formula sees: vectors of four."""

    x: Any  # of the first stretch
    y: Any  # of the second stretch
    a: Any
    b: Any
    sums: list[Any]  # so far


Formula = Callable[[Any, Step], list[Any]]


def _fold(formula: Formula, kinds: Sequence[Any]) -> Any:
    """The intrinsic of a formula; its sums are of these vector kinds."""

    def typed(_: Any, array: Any, _first: Any, _second: Any, _fours: Any, _a: Any, _b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            a, b = (joined(builder, [number] * LANES) for number in arguments[4:])
            cells = [cgutils.alloca_once_value(builder, ir.Constant(kind, None)) for kind in kinds]
            with cgutils.for_range(builder, arguments[3]) as loop:
                offset = builder.mul(loop.index, ir.Constant(loop.index.type, LANES))
                x, y = (_load(builder, data, builder.add(at, offset)) for at in arguments[1:3])
                step = Step(x, y, a, b, [builder.load(cell) for cell in cells])
                sums = formula(builder, step)
                for cell, value in zip(cells, sums, strict=True):
                    builder.store(value, cell)
            totals = [_total(builder, builder.load(cell)) for cell in cells]
            return context.make_tuple(builder, signature.return_type, totals)

        plain = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
        if not (plain and array.dtype == types.float64):
            return None
        numbers = (types.intp, types.intp, types.intp, types.float64, types.float64)
        return types.UniTuple(types.float64, len(kinds))(array, *numbers), generate

    return intrinsic(typed)


def _load(builder: Any, data: Any, index: Any) -> Any:
    x = builder.load(builder.bitcast(builder.gep(data, [index]), DOUBLES.as_pointer()))
    x.align = 8
    return x


def _total(builder: Any, x: Any) -> Any:
    whole = x.type == LONGS
    a, b, c, d = split(builder, x)
    add = builder.add if whole else builder.fadd
    total = add(add(a, b), add(c, d))
    return builder.sitofp(total, ir.DoubleType()) if whole else total


def _absolute(builder: Any, x: Any) -> Any:
    mask = ir.Constant(LONGS, [(1 << 63) - 1] * LANES)
    return builder.bitcast(builder.and_(builder.bitcast(x, LONGS), mask), DOUBLES)


def _sum(builder: Any, at: Step) -> list[Any]:
    return [builder.fadd(at.sums[0], at.x)]


def _magnitude(builder: Any, at: Step) -> list[Any]:
    return [builder.fadd(at.sums[0], _absolute(builder, at.x))]


def _distance(builder: Any, at: Step) -> list[Any]:
    return [builder.fadd(at.sums[0], _absolute(builder, builder.fsub(at.x, at.y)))]


def _product(builder: Any, at: Step) -> list[Any]:
    return [builder.fadd(at.sums[0], builder.fmul(at.x, at.y))]


def _squares(builder: Any, at: Step) -> list[Any]:
    gap = builder.fsub(at.x, at.a)
    return [builder.fadd(at.sums[0], builder.fmul(gap, gap))]


def _moments(builder: Any, at: Step) -> list[Any]:
    p, q = builder.fsub(at.x, at.a), builder.fsub(at.y, at.b)
    return [
        builder.fadd(at.sums[0], builder.fmul(p, p)),
        builder.fadd(at.sums[1], builder.fmul(p, q)),
        builder.fadd(at.sums[2], builder.fmul(q, q)),
    ]


def _counts(builder: Any, at: Step) -> list[Any]:
    """Both stretches, each in a sum of its own: two short chains instead of a long one."""
    return [_count(builder, at.x, at.a, at.sums[0]), _count(builder, at.y, at.a, at.sums[1])]


def _count(builder: Any, x: Any, a: Any, sums: Any) -> Any:
    # A true comparison is -1 in every bit.
    below = builder.sext(builder.fcmp_ordered("<", x, a), LONGS)
    up_to = builder.sext(builder.fcmp_ordered("<=", x, a), LONGS)
    return builder.sub(builder.sub(sums, below), up_to)


fold_sum = _fold(_sum, [DOUBLES])  # sum x

fold_magnitude = _fold(_magnitude, [DOUBLES])  # sum |x|
fold_distance = _fold(_distance, [DOUBLES])  # sum |x - y|
fold_product = _fold(_product, [DOUBLES])  # sum x y
fold_squares = _fold(_squares, [DOUBLES])  # sum (x - a)^2
fold_moments = _fold(_moments, [DOUBLES] * 3)  # sum (x-a)^2, sum (x-a)(y-b), sum (y-b)^2
fold_counts = _fold(_counts, [LONGS] * 2)  # how many x < a plus how many x <= a; the same of y
