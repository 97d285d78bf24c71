"""The decorators of the hot path: compiled functions that work in the arrays they are given.

numba counts references to every array that a function touches, also where it only reads an
argument; in step functions of a few dozen nanoseconds those atomic counts were most of the time.
These compile without them. Such a function may slice its arguments but neither create an array nor
return one; numba refuses the former at compile time.
"""

from __future__ import annotations

from typing import Any

from numba import njit


def _lean(**options: bool | str) -> Any:
    """njit without numba's runtime, that is without its reference counts and allocations."""
    without: dict[str, Any] = {"_nrt": False, **options}
    return njit(cache=True, **without)


lean_njit = _lean()
# Small functions called from inside of loops: passing a dozen arrays costs more than their work.
inline_njit = _lean(forceinline=True)
# Where the code proves every divisor other than zero: no test before each division.
proven_njit = _lean(error_model="numpy")
proven_inline_njit = _lean(error_model="numpy", forceinline=True)
