"""Real similarity: cosine of a set point to the most similar real image of its class, mean over set points.

A set point that is a real image looks at the others. What all classes as one have is over a sample of real images.
"""

from __future__ import annotations

from condhpc.metrics._cosine import RealSimilarity


class MeanRealSimilarity(RealSimilarity):
    """Mean over set points, then over classes. No interval: it is a maximum over real points."""

    over = "mean"


PLUGIN = MeanRealSimilarity()
