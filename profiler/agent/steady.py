"""When a warm-up may end."""

from __future__ import annotations

import statistics
from typing import Optional, Sequence

#: Inferences in each of the two windows, at least.
MIN_WINDOW = 5
#: Of longer windows, about so many inferences are looked at, evenly.
MAX_WINDOW = 1000
#: What may lie between their medians.
MAX_CHANGE = 0.03
#: Windows are compared again when there are so many times more inferences.
GROWTH = 1.1


class Steadiness:
    """Compares the last quarter of a warm-up with the quarter before it, by their medians.

    Medians, since single inferences are late for reasons that never end; quarters, so that the
    windows grow with what has to be averaged out.

    Attributes:
        steady: whether they are within 3% of each other; None where there were too few to tell.
        change: of the median, from one window to the next; None likewise.
    """

    def __init__(self) -> None:
        self.steady: Optional[bool] = None
        self.change: Optional[float] = None
        self.looked_at = 0

    def look(self, spent_ns: Sequence[int], finally_: bool = False) -> bool:
        """Whether it is steady now; looks only when enough has come since the last time."""
        window = max(MIN_WINDOW, len(spent_ns) // 4)
        due = finally_ or len(spent_ns) >= GROWTH * self.looked_at
        if due and len(spent_ns) >= 2 * window:
            self.looked_at = len(spent_ns)
            step = 1 + window // MAX_WINDOW
            before = statistics.median(spent_ns[-2 * window : -window : step])
            after = statistics.median(spent_ns[-window::step])
            self.change = after / before - 1
            self.steady = abs(self.change) <= MAX_CHANGE
        return bool(self.steady)
