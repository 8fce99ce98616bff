"""Mixed precision: float for the fewest layers that bring the drop within what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ConversionError, UsageError
from ..artifact import Artifact
from ..data import Sample
from ..examiner import Examiner, Judgement
from .apply import is_of_the_disk, quantize
from .plan import with_float
from .recipe import Recipe
from .sensitivity import Sensitivity, look, measure_worst
from .statistics import Statistics

#: Candidates that may be tried to take float layers back.
_MAX_TAKEN_BACK = 16

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Found:
    """What the search came to.

    Attributes:
        artifact, judgement: None where no candidate was proven.
        layers: names of those kept float.
        tried: how many candidates were made and judged.
        sensitivities: of all the layers.
    """

    artifact: Artifact | None
    judgement: Judgement | None
    layers: tuple[str, ...]
    tried: int
    sensitivities: tuple[Sensitivity, ...]


class MixedSearch:
    """Gives layers back to float by gain for cost, then takes back what is needless.

    The number of layers is doubled until a candidate is proven and then halved in on, so that a
    model of n layers takes about 2 log2(n) candidates. Each candidate meets the samples first on
    which the fully quantized model did worst, and is dropped as soon as it is lost.
    """

    def __init__(
        self,
        reference: Artifact,
        quantized: Artifact,
        judgement: Judgement,
        statistics: Statistics | None,
        examiner: Examiner,
        samples: Sequence[Sample],
        scratch: Path,
        on_progress: OnProgress = lambda what, done, total: None,
    ) -> None:
        """Prepares a search.

        Args:
            quantized: the artifact that drops too much; its recipe is varied.
            judgement: on that artifact.
            samples: calibration samples that show the effect of single layers.
            scratch: directory for candidates; the one that is found stays in it.
        """
        assert quantized.recipe is not None
        self._reference, self._quantized, self._statistics = reference, quantized, statistics
        self._recipe: Recipe = quantized.recipe
        self._drops: npt.NDArray[np.float64] = judgement.drops
        self._examiner, self._samples, self._scratch = examiner, samples, scratch
        self._on_progress = on_progress
        self._judged: dict[frozenset[str], tuple[Artifact, Judgement] | None] = {}

    def run(self) -> Found:
        """Searches.

        Raises:
            UsageError, ConversionError: as `quantize` does.
        """
        looked = look(
            self._reference, self._recipe, self._statistics, self._samples, self._on_progress
        )
        known = measure_worst(
            self._reference, self._quantized, self._statistics, self._samples, looked,
            self._on_progress,
        )  # fmt: skip
        order = [
            each.name
            for each in sorted(known, key=lambda s: (-s.gain_for_cost, -s.noise))
            if each.screened is not None
        ]
        kept = self._fewest(order)
        if kept is None:
            return Found(None, None, (), len(self._judged), tuple(known))
        kept = self._without_needless(kept, known)
        final = self._judge(kept)
        assert final is not None
        return Found(*final, tuple(kept), len(self._judged), tuple(known))

    def _fewest(self, order: Sequence[str]) -> list[str] | None:
        """The shortest beginning of the order that is proven; None where none is."""
        # All the layers in float would be the float model.
        if len(order) < 2:
            return None
        failed, count = 0, 1
        while not self._is_proven(order[:count]):
            failed = count
            if count >= len(order) - 1:
                return None
            count = min(2 * count, len(order) - 1)
        proven = count
        while proven - failed > 1:
            middle = (proven + failed) // 2
            if self._is_proven(order[:middle]):
                proven = middle
            else:
                failed = middle
        return list(order[:proven])

    def _without_needless(self, kept: Sequence[str], known: Sequence[Sensitivity]) -> list[str]:
        """Takes layers back into the quantized part, those first that gain least for their cost."""
        by_name = {each.name: each for each in known}
        left = sorted(kept, key=lambda name: (by_name[name].gain_for_cost, by_name[name].noise))
        size, tries = max(1, len(left) // 2), 0
        while len(left) > 1 and tries < _MAX_TAKEN_BACK:
            taken = False
            for start in range(0, len(left), size):
                rest = left[:start] + left[start + size :]
                if not rest or tries >= _MAX_TAKEN_BACK:
                    continue
                tries += 1
                if self._is_proven(rest):
                    left, taken = rest, True
                    break
            if not taken:
                if size == 1:
                    break
                size = max(1, size // 2)
        return [name for name in kept if name in left]

    def _is_proven(self, layers: Sequence[str]) -> bool:
        found = self._judge(layers)
        return found is not None and found[1].evaluation.verdict == "proven"

    def _judge(self, layers: Sequence[str]) -> tuple[Artifact, Judgement] | None:
        key = frozenset(layers)
        if key not in self._judged:
            self._on_progress("searching for the layers to keep float", len(self._judged), 0)
            recipe = with_float(self._recipe, layers).model_copy(
                update={"name": f"{self._recipe.name}-mixed"}
            )
            path = self._scratch / f"{len(self._judged)}.{self._reference.format}"
            try:
                made = quantize(
                    self._reference, recipe, self._statistics, (list(self._samples[:1]), ""), path
                )
            except (ConversionError, UsageError) as error:
                if is_of_the_disk(error):
                    raise
                # One set of layers that can't be made does not end the search.
                self._judged[key] = None
                return None
            judgement = self._examiner.judge(made, worst_first=self._drops)
            self._judged[key] = made, judgement
            if judgement.evaluation.verdict != "proven":
                made.path.unlink()
        return self._judged[key]
