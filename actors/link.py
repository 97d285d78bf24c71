"""The calibrated link from a few features to (down, flat, up): multinomial logit.

p_k = exp(b_k + w_k . x) / sum_j exp(b_j + w_j . x)   (McFadden 1973)

Parameters are one flat row ``[b_down, w_down..., b_flat, w_flat..., b_up, w_up...]`` of length
3 (k + 1) for k features, so that they can stand at any offset of an agent's ``params``.
"""

from __future__ import annotations

from data.compiled import proven_inline_njit
from data.vector_math import EXP_LIMIT, exp4

# Features are clipped before the link: an outlier may move a forecast only so far.
CLIP = 4.0


def link_width(features: int) -> int:
    """Length of a link's row for so many features."""
    return 3 * (features + 1)


@proven_inline_njit
def link(params, offset, x, count, out):
    """Writes the three probabilities of features ``x[:count]`` to ``out[:3]``."""
    flat, up = offset + count + 1, offset + 2 * (count + 1)
    v0, v1, v2 = params[offset], params[flat], params[up]
    for j in range(count):
        value = min(max(x[j], -CLIP), CLIP)
        v0 += params[offset + 1 + j] * value
        v1 += params[flat + 1 + j] * value
        v2 += params[up + 1 + j] * value
    top = max(v0, v1, v2)
    e0, e1, e2, _ = exp4(
        max(v0 - top, -EXP_LIMIT), max(v1 - top, -EXP_LIMIT), max(v2 - top, -EXP_LIMIT), 0.0
    )
    total = e0 + e1 + e2
    out[0], out[1], out[2] = e0 / total, e1 / total, e2 / total
