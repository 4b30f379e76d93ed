"""Worst real similarity: cosine of the least real-looking set point of a class to the real image most similar to it.

"Minimax representativeness" in the diffusion literature, there over all classes as one; both are given. A set point
that is a real image looks at the others.
"""

from __future__ import annotations

from condhpc.metrics._cosine import RealSimilarity


class WorstRealSimilarity(RealSimilarity):
    """Minimum over set points, mean over classes. No interval: it is a maximum over real points."""

    over = "min"


PLUGIN = WorstRealSimilarity()
