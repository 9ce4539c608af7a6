"""A chain's values over polygons, lines and points."""

from muses_lab.zonal.aggregate import compute, features, frame
from muses_lab.zonal.parts import OutsideData, outside, tell_of_empty
from muses_lab.zonal.statistics import ZonalStatistics, statistics

__all__ = [
    "OutsideData", "ZonalStatistics", "compute", "features", "frame", "outside", "statistics", "tell_of_empty",
]  # fmt: skip
