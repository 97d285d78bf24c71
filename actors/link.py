"""The calibrated link from a few features to (down, flat, up): multinomial logit.

p_k = exp(b_k + w_k . x) / sum_j exp(b_j + w_j . x)   (McFadden 1973)

Parameters are one flat row ``[b_down, w_down..., b_flat, w_flat..., b_up, w_up...]`` of length
3 (k + 1) for k features, so that they can stand at any offset of an agent's ``params``.
"""

from __future__ import annotations

import math

from numba import njit

# Features are clipped before the link: an outlier may move a forecast only so far.
CLIP = 4.0


@njit(cache=True)
def link(params, offset, x, count, out):
    """Writes the three probabilities of features ``x[:count]`` to ``out[:3]``."""
    stride = count + 1
    top = -math.inf
    for k in range(3):
        base = offset + k * stride
        value = params[base]
        for j in range(count):
            value += params[base + 1 + j] * min(max(x[j], -CLIP), CLIP)
        out[k] = value
        top = max(top, value)
    total = 0.0
    for k in range(3):
        out[k] = math.exp(out[k] - top)
        total += out[k]
    for k in range(3):
        out[k] /= total
