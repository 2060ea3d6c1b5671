"""The interval of an accuracy."""

from math import sqrt
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy, in percent.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927).
    """
    share, weight = correct / total, Z * Z / total
    center = (share + weight / 2) / (1 + weight)
    half = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    low = center - half if correct > 0 else 0.0  # without rounding errors
    high = center + half if correct < total else 1.0
    return 100 * low, 100 * high
