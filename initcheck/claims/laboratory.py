"""Where claims are put to the test: the source of seeds, and the memory of what was measured already."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from initcheck.claims.base import Claim, Evidence, Experiment, Outcome, Verdict, settle
from initcheck.errors import BackendError
from initcheck.random_state import preserved_random_state
from initcheck.seeds import LARGEST_SEED, check_seed, derive_seed

if TYPE_CHECKING:
    from pandas import DataFrame

_Made = TypeVar("_Made")


class Laboratory:
    """Runs experiments, each once.

    Every seed derives from the base seed and a label, so that an experiment gives the same numbers alone, in another
    order or in another process.
    """

    def __init__(self, seed: int = 0) -> None:
        """Open a laboratory.

        Args:
            seed: the base seed of the run.

        Raises:
            UsageError: the seed is negative or not an integer.
        """
        self.base_seed: Final = check_seed(seed)
        self._tables: dict[Experiment, DataFrame] = {}
        self._made: dict[Hashable, Any] = {}

    def seed(self, label: str) -> int:
        """Derive the seed of one thing, an integer from 1 to 2^31 - 3 that Keras takes."""
        return derive_seed(self.base_seed, label)

    def seeds(self, label: str, count: int) -> tuple[int, ...]:
        """Derive different seeds for several things of a kind: consecutive numbers from a place that the label says."""
        first = derive_seed(self.base_seed, label)
        return tuple((first + index) % LARGEST_SEED + 1 for index in range(count))

    def measure(self, experiment: Experiment) -> DataFrame:
        """Measure, unless an equal experiment was measured before.

        The random states of the process are left as they were.
        """
        if experiment not in self._tables:
            with preserved_random_state():
                self._tables[experiment] = experiment.measure(self)
        return self._tables[experiment]

    def remember(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Make something that several experiments share, once: drawn weights, a trained model."""
        if key not in self._made:
            self._made[key] = make()
        made: _Made = self._made[key]
        return made

    def forget(self) -> None:
        """Drop what was made and measured, to free its memory."""
        self._tables.clear()
        self._made.clear()

    def judge(self, claim: Claim, *, with_control: bool = True) -> Outcome:
        """Put a claim to the test.

        Args:
            claim: the claim.
            with_control: whether its negative control is run too.

        Returns:
            The outcome. An exception that Keras raises while it is measured makes the claim broken; the exception's
            message is the reason.

        Raises:
            BackendError: Keras or its backend cannot be used at all.
        """
        start = time.perf_counter()
        try:
            evidence = claim.decide(self.measure(claim.experiment))
            control = claim.decide(self.measure(claim.control)) if with_control else None
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever Keras raises is what the claim's reader has to hear about
            text = " ".join(str(error).split())[:300]
            reason = f"It could not be measured: {type(error).__name__}: {text}"
            evidence = Evidence(Verdict.INCONCLUSIVE, reason, "could not be measured", math.nan)
            return Outcome(claim, evidence, None, "broken", reason, time.perf_counter() - start)
        status, reason = settle(claim, evidence, control)
        return Outcome(claim, evidence, control, status, reason, time.perf_counter() - start)
