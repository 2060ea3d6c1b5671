"""The interval of an accuracy."""

from scipy.stats import binomtest


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy, in percent."""
    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)
