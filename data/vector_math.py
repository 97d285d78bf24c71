"""Arithmetic, exp and ln of four numbers at once, with the same bits on every machine.

The C library's exp and log take one number and differ in their last bit between its versions. These
are built from correctly rounded operations alone (add, multiply, divide, fused multiply-add), so
their results depend on their arguments only. Written as LLVM vectors, because a compiler that must
keep the order of floating-point sums does not find them itself. Both are right to 1.5 units in
the last place; a test compares them with numpy.

Four numbers are a tuple in compiled code; between these functions LLVM keeps them in one register.

Method: exp(x) = 2^k exp(r), |r| <= ln 2 / 2, by its Taylor series to r^13; ln(2^k m) = k ln 2 +
2 artanh(f / (2 + f)), f = m - 1, sqrt 1/2 <= m < sqrt 2, with the coefficients of fdlibm's e_log.c
(Sun Microsystems 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from data.compiled import inline_njit

LANES = 4
EXP_LIMIT = 708.0  # beyond +-this the result is no normal number

_LOG2_E = 1.0 / math.log(2.0)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Added to a number below 2^51 it leaves the nearest integer in the lowest bits.
_SHIFT = 1.5 * 2.0**52
_SHIFT_BITS = 0x4338000000000000
_TAYLOR = tuple(1.0 / math.factorial(n) for n in range(2, 14))
_MANTISSA = 52
_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
_BIAS = 1024  # keeps the exponent positive for a logical shift
_EVEN = (0.3999999999940941908, 0.2222219843214978396, 0.1531383769920937332)
_ODD = (
    0.6666666666666735130,
    0.2857142874366239149,
    0.1818357216161805012,
    0.1479819860511658591,
)

_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_LONGS = ir.VectorType(ir.IntType(64), LANES)


def _doubles(value: float) -> ir.Constant:
    return ir.Constant(_DOUBLES, [value] * LANES)


def _longs(value: int) -> ir.Constant:
    return ir.Constant(_LONGS, [value] * LANES)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c with one rounding; a processor without the instruction calls the C library's."""
    kind = ir.FunctionType(_DOUBLES, [_DOUBLES] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")
    return builder.call(function, [a, b, c])


def _absolute(builder: Any, x: Any) -> Any:
    mask = _longs((1 << 63) - 1)
    return builder.bitcast(builder.and_(builder.bitcast(x, _LONGS), mask), _DOUBLES)


def _exp(builder: Any, x: Any) -> Any:
    shifted = _fma(builder, x, _doubles(_LOG2_E), _doubles(_SHIFT))
    whole = builder.fsub(shifted, _doubles(_SHIFT))
    r = _fma(builder, whole, _doubles(-_LN2_HIGH), x)
    r = _fma(builder, whole, _doubles(-_LN2_LOW), r)
    r2 = builder.fmul(r, r)
    r4 = builder.fmul(r2, r2)
    # Estrin's scheme: pairs, then pairs of pairs.
    pairs = [
        _fma(builder, r, _doubles(_TAYLOR[i + 1]), _doubles(_TAYLOR[i])) for i in range(0, 12, 2)
    ]
    a, b, c = (_fma(builder, r2, pairs[i + 1], pairs[i]) for i in range(0, 6, 2))
    tail = _fma(builder, r4, _fma(builder, r4, c, b), a)
    p = builder.fadd(_doubles(1.0), _fma(builder, r2, tail, r))
    power = builder.shl(builder.bitcast(shifted, _LONGS), _longs(_MANTISSA))
    return builder.bitcast(builder.add(builder.bitcast(p, _LONGS), power), _DOUBLES)


def _log(builder: Any, x: Any) -> Any:
    bits = builder.bitcast(x, _LONGS)
    biased = builder.add(bits, _longs((_BIAS << _MANTISSA) - _ROOT_HALF_BITS))
    exponent = builder.sub(builder.lshr(biased, _longs(_MANTISSA)), _longs(_BIAS))
    mantissa = builder.sub(bits, builder.shl(exponent, _longs(_MANTISSA)))
    f = builder.fsub(builder.bitcast(mantissa, _DOUBLES), _doubles(1.0))
    k = builder.bitcast(builder.add(exponent, _longs(_SHIFT_BITS)), _DOUBLES)
    k = builder.fsub(k, _doubles(_SHIFT))
    s = builder.fdiv(f, builder.fadd(f, _doubles(2.0)))
    z = builder.fmul(s, s)
    w = builder.fmul(z, z)
    even = _fma(builder, w, _doubles(_EVEN[2]), _doubles(_EVEN[1]))
    even = builder.fmul(w, _fma(builder, w, even, _doubles(_EVEN[0])))
    odd = _fma(builder, w, _doubles(_ODD[3]), _doubles(_ODD[2]))
    odd = _fma(builder, w, odd, _doubles(_ODD[1]))
    odd = builder.fmul(z, _fma(builder, w, odd, _doubles(_ODD[0])))
    half = builder.fmul(builder.fmul(f, f), _doubles(0.5))
    rest = builder.fadd(half, builder.fadd(even, odd))
    rest = _fma(builder, s, rest, builder.fmul(k, _doubles(_LN2_LOW)))
    tail = builder.fsub(builder.fsub(half, rest), f)
    return _fma(builder, k, _doubles(_LN2_HIGH), builder.fneg(tail))


def _joined(builder: Any, numbers: Sequence[Any]) -> Any:
    x = ir.Constant(_DOUBLES, ir.Undefined)
    for lane, number in enumerate(numbers):
        x = builder.insert_element(x, number, ir.Constant(ir.IntType(32), lane))
    return x


def _split(builder: Any, x: Any) -> list[Any]:
    return [builder.extract_element(x, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)]


def _of_fours(formula: Callable[..., Any], count: int) -> Any:
    """A typed intrinsic of ``count`` fours -> a four."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        fours = [
            _joined(builder, [builder.extract_value(argument, lane) for lane in range(LANES)])
            for argument in arguments
        ]
        y = formula(builder, *fours)
        return context.make_tuple(builder, signature.return_type, _split(builder, y))

    if count == 1:

        def typed_one(_: Any, x: Any) -> Any:
            return (_FOUR(_FOUR), generate) if x == _FOUR else None

        return intrinsic(typed_one)

    def typed_two(_: Any, x: Any, y: Any) -> Any:
        return (_FOUR(_FOUR, _FOUR), generate) if x == y == _FOUR else None

    return intrinsic(typed_two)


def _typed_load(_: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), _DOUBLES.as_pointer())
        x = builder.load(pointer)
        x.align = 8
        return context.make_tuple(builder, signature.return_type, _split(builder, x))

    plain = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    if not (plain and array.dtype == types.float64 and isinstance(index, types.Integer)):
        return None
    return _FOUR(array, types.intp), generate


_FOUR = types.UniTuple(types.float64, LANES)
_exp_of, _log_of = _of_fours(_exp, 1), _of_fours(_log, 1)
_add_of = _of_fours(lambda builder, x, y: builder.fadd(x, y), 2)
_subtract_of = _of_fours(lambda builder, x, y: builder.fsub(x, y), 2)
_multiply_of = _of_fours(lambda builder, x, y: builder.fmul(x, y), 2)
_absolute_of = _of_fours(_absolute, 1)
_load_of: Any = intrinsic(_typed_load)


@inline_njit
def load4(array, index):
    """Four float64 of a contiguous array from ``index`` >= 0; nothing is checked."""
    return _load_of(array, index)


@inline_njit
def add4(x, y):
    """x + y, lane by lane."""
    return _add_of(x, y)


@inline_njit
def sub4(x, y):
    """x - y, lane by lane."""
    return _subtract_of(x, y)


@inline_njit
def mul4(x, y):
    """x y, lane by lane."""
    return _multiply_of(x, y)


@inline_njit
def abs4(x):
    """|x|, lane by lane."""
    return _absolute_of(x)


@inline_njit
def total4(x):
    """Sum over the lanes: (0 + 1) + (2 + 3)."""
    return (x[0] + x[1]) + (x[2] + x[3])


@inline_njit
def exp4(a, b, c, d):
    """(exp(a), exp(b), exp(c), exp(d)); the caller keeps each within +-EXP_LIMIT."""
    return _exp_of((a, b, c, d))


@inline_njit
def log4(a, b, c, d):
    """Natural logarithms of four finite numbers that the caller keeps at or above 2.3e-308."""
    return _log_of((a, b, c, d))
