"""exp and ln of four numbers at once, as vector code that gives the same bits on every machine.

The C library's exp and log take one number and differ in their last bit between its versions. These
are built from correctly rounded operations alone (add, multiply, divide, fused multiply-add), so
their results depend on their arguments only. Written as LLVM vectors, because a compiler that must
keep the order of floating-point sums does not find them itself. Both are right to 1.5 units in
the last place; a test compares them with numpy.

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

DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
LONGS = ir.VectorType(ir.IntType(64), LANES)


def _doubles(value: float) -> ir.Constant:
    return ir.Constant(DOUBLES, [value] * LANES)


def _longs(value: int) -> ir.Constant:
    return ir.Constant(LONGS, [value] * LANES)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c with one rounding; a processor without the instruction calls the C library's."""
    kind = ir.FunctionType(DOUBLES, [DOUBLES] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")
    return builder.call(function, [a, b, c])


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
    power = builder.shl(builder.bitcast(shifted, LONGS), _longs(_MANTISSA))
    return builder.bitcast(builder.add(builder.bitcast(p, LONGS), power), DOUBLES)


def _log(builder: Any, x: Any) -> Any:
    bits = builder.bitcast(x, LONGS)
    biased = builder.add(bits, _longs((_BIAS << _MANTISSA) - _ROOT_HALF_BITS))
    exponent = builder.sub(builder.lshr(biased, _longs(_MANTISSA)), _longs(_BIAS))
    mantissa = builder.sub(bits, builder.shl(exponent, _longs(_MANTISSA)))
    f = builder.fsub(builder.bitcast(mantissa, DOUBLES), _doubles(1.0))
    k = builder.bitcast(builder.add(exponent, _longs(_SHIFT_BITS)), DOUBLES)
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


def joined(builder: Any, numbers: Sequence[Any]) -> Any:
    """One vector of LANES numbers."""
    x = ir.Constant(DOUBLES, ir.Undefined)
    for lane, number in enumerate(numbers):
        x = builder.insert_element(x, number, ir.Constant(ir.IntType(32), lane))
    return x


def split(builder: Any, x: Any) -> list[Any]:
    """The lanes of a vector."""
    return [builder.extract_element(x, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)]


def _of_four(formula: Callable[[Any, Any], Any]) -> Any:
    """A typed intrinsic: four numbers as one tuple -> four results."""

    def typed(_: Any, four: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            numbers = [builder.extract_value(arguments[0], lane) for lane in range(LANES)]
            y = formula(builder, joined(builder, numbers))
            return context.make_tuple(builder, signature.return_type, split(builder, y))

        return (_FOUR(_FOUR), generate) if four == _FOUR else None

    return intrinsic(typed)


_FOUR = types.UniTuple(types.float64, LANES)
_exp_of, _log_of = _of_four(_exp), _of_four(_log)


@inline_njit
def exp4(a, b, c, d):
    """(exp(a), exp(b), exp(c), exp(d)); the caller keeps each within +-EXP_LIMIT."""
    return _exp_of((a, b, c, d))


@inline_njit
def log4(a, b, c, d):
    """Natural logarithms of four finite numbers that the caller keeps at or above 2.3e-308."""
    return _log_of((a, b, c, d))
