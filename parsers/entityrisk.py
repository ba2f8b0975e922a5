"""How risky a user or an address is by all that was found about it: Elastic's series, weighted by rank.

The contributions of an entity are sorted, the gravest first, and the i-th counts ``1 / i^1.5`` of its points. Their sum
over what 10,000 contributions of 100 points would give is the score, 0 to 100. So one grave thing counts more than many
small ones, repetition counts ever less, and no number of contributions goes beyond 100. The exponent and the number are
those of Elastic's entity risk (Kibana, `entity_analytics/risk_score/constants.ts`: s = 1.5 and ζ(1.5, 10,000) = 2.5924).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

EXPONENT: Final = 1.5
MOST_COUNTED: Final = 10_000  # contributions of an entity; what comes behind them adds nothing
MOST_POINTS: Final = 100
# An event's points are a chance in percent that something is wrong: from here on it is more likely than not.
LEAST_EVENT_POINTS: Final = 50
DAYS: Final = 30  # that contributions are looked for, as in Elastic's
SHOWN: Final = 10  # contributions that are named, as in Elastic's
LOW_TO: Final = 30  # the original's bands, of the score rounded half up
MEDIUM_TO: Final = 70

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Band = Literal["low", "medium", "high"]

_UPTO: Final[Floats] = np.concatenate(
    [[0.0], np.cumsum(np.arange(1, MOST_COUNTED + 1, dtype=np.float64) ** -EXPONENT)]
)
"""The sum of the first n weights, for n from 0 on."""


def scores(owners: Ints, points: Ints, counts: Ints, size: int) -> Floats:
    """Return the score of each of ``size`` entities, 0 to 100.

    Row by row, ``counts`` contributions of ``points`` (0 to 100) belong to the entity number ``owners``. The order of the
    rows does not matter, nor how equal contributions are spread over them.
    """
    order, equal = np.unique(owners * (MOST_POINTS + 1) + (MOST_POINTS - points), return_inverse=True)
    sums = np.bincount(equal, weights=counts, minlength=len(order)).astype(np.int64)
    whose, lost = np.divmod(order, MOST_POINTS + 1)
    ends = np.cumsum(sums)
    firsts = np.concatenate([[True], whose[1:] != whose[:-1]]) if len(whose) else np.zeros(0, np.bool_)
    base = np.maximum.accumulate(np.where(firsts, ends - sums, 0)) if len(whose) else ends
    shares = (MOST_POINTS - lost) * (_weight(ends - base) - _weight(ends - base - sums))
    found: Floats = np.bincount(whose, weights=shares, minlength=size) / _UPTO[-1]
    return np.minimum(found, float(MOST_POINTS))


def added(ranked: Sequence[tuple[int, int]]) -> list[float]:
    """Return what each entry adds to one entity's score; ``ranked`` are (points, how many), the gravest first."""
    ends = np.cumsum([count for _, count in ranked], dtype=np.int64)
    sums = np.array([count for _, count in ranked], np.int64)
    points = np.array([points for points, _ in ranked], np.int64)
    shares = points * (_weight(ends) - _weight(ends - sums)) / _UPTO[-1]
    return [float(share) for share in shares]


def band(score: float) -> Band:
    """Return the band of a score, by the original's bounds."""
    whole = int(score + 0.5)
    return "low" if whole <= LOW_TO else "medium" if whole <= MEDIUM_TO else "high"


def _weight(contributions: Ints) -> Floats:
    """Return the sum of the weights of so many contributions."""
    weights: Floats = _UPTO[np.minimum(contributions, MOST_COUNTED)]
    return weights
