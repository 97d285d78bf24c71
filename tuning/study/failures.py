"""What may end a run of a study besides its own end; the study itself stays intact."""

from __future__ import annotations


class ClusterLost(RuntimeError):
    """Ray cannot be reached, or went away in mid-study; what was durable before stays."""
