"""Covering radius without its extremes: the distance within which 90 % of real images have a set point."""

from __future__ import annotations

from condhpc.metrics._served import ServedQuantile


class CoveringRadiusQ90(ServedQuantile):
    """Per class, linear between two distances; mean over classes."""

    quantile = 0.90


PLUGIN = CoveringRadiusQ90()
