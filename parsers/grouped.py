"""Groups inside a batch: what was before each event in its own group, for all events at once.

Everything here is exact: what it says of an event depends on the events before it and on nothing else, so that a
stream gives the same results however it is cut into batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from parsers.arrow import Int64s, Mask


class Groups:
    """Events (by position) in groups, each group in the order of the events.

    ``ids`` gives the group of each event. Arrays that methods take and return are *sorted*: group after group, see
    `order`; `back` puts them into the order of events again. ``initial`` values are by sorted group, see `starts`.
    """

    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self.order: Int64s = np.argsort(ids, kind="stable")
        self.ids = ids[self.order]
        self.first: Mask = np.ones(len(ids), bool)
        self.first[1:] = self.ids[1:] != self.ids[:-1]
        self.starts: Int64s = np.flatnonzero(self.first)  # where each group begins, sorted
        self.number: Int64s = np.cumsum(self.first) - 1  # which group each sorted event belongs to
        self.ends: Int64s = (
            np.append(self.starts[1:], len(ids)) - 1
        )  # where each group's last event is, sorted

    def __len__(self) -> int:
        return len(self.starts)

    def back(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return sorted values in the order of events."""
        result = np.empty_like(values)
        result[self.order] = values
        return result

    def rank(self) -> Int64s:
        """Return how many events of its group were before each."""
        return np.arange(len(self.ids)) - self.starts[self.number]

    def before(self, values: npt.NDArray[Any], initial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the value of the event before each in its group; ``initial`` of its group for the first."""
        result = np.empty_like(values)
        result[1:] = values[:-1]
        result[self.starts] = initial
        return result

    def highest(self, values: Int64s, initial: Int64s) -> Int64s:
        """Return the greatest value up to and with each event of its group, ``initial`` included."""
        if not len(values):
            return values
        floor = min(int(values.min()), int(initial.min()))
        span = max(int(values.max()), int(initial.max())) - floor + 1
        # Each group is lifted above the one before it, so that one running maximum serves all.
        lift = self.number * span - floor
        raised = values + lift
        raised[self.starts] = np.maximum(raised[self.starts], initial + lift[self.starts])
        return np.maximum.accumulate(raised) - lift

    def last_where(self, flags: Mask) -> Int64s:
        """Return the position (sorted) of the last flagged event up to and with each in its group, -1 if none."""
        seen = np.maximum.accumulate(np.where(flags, np.arange(len(flags)), -1))
        return np.where(seen >= self.starts[self.number], seen, -1)

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sum of the values before each event in its group, along the first axis."""
        total = np.cumsum(values, axis=0)
        before = np.zeros_like(total)
        before[1:] = total[:-1]
        result: npt.NDArray[Any] = before - before[self.starts][self.number]
        return result
