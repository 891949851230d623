"""How long somebody is usually silent, robust against the outages that everyone has had.

Hours are numbers in order; callers leave out hours in which nobody was heard. Not here: what
follows from it (`silence`, `freshness`, `volume`).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median


def usual_silence(hours: Sequence[int], weeks: float) -> int:
    """The longest silence, in whole hours, that comes once in each week.

    As many as there are whole weeks were as long or longer: so of a sender that rests at weekends
    it is a weekend. Longer ones that came more seldom are left out, one at least: an outage or two
    must not make a sender that speaks every minute seem one that rests for days. What was silent
    in one weekend only is therefore not known to rest at weekends yet: two must have passed.

    Args:
        hours: those in which it was heard, ascending.
        weeks: that they span.
    """
    silences = sorted((after - before - 1 for before, after in pairwise(hours)), reverse=True)
    # From its first hour to its last, each whole week has one of a weekly pattern's silences.
    return silences[min(max(int(weeks) - 1, 1), len(silences) - 1)] if silences else 0


def robust_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the median absolute deviation scaled to a normal distribution's standard one.

    See Leys et al. 2013, "Detecting outliers", Journal of Experimental Social Psychology 49 (4).
    """
    middle = median(values)
    return middle, 1.4826 * median(abs(value - middle) for value in values)


def usual_band(values: Sequence[float], width: float, least: float) -> tuple[float, float, float]:
    """Lowest usual, median and highest usual of counts, judged by their logarithm.

    Args:
        values: counts, at least one.
        width: in robust standard deviations.
        least: standard deviation of the logarithm; counting noise is added where counts are small.
    """
    middle, spread = robust_spread([math.log1p(value) for value in values])
    count = math.expm1(middle)
    reach = width * max(spread, least, 1 / math.sqrt(count + 1))
    return max(math.expm1(middle - reach), 0.0), count, math.expm1(middle + reach)
