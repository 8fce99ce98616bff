"""Answers of runtimes and compilers, each asked once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

from .facts import ModelFacts
from .oracles import ORACLES, CannotSay
from .placement import Placement
from .profile import Accelerator

if TYPE_CHECKING:
    from .oracles.tflite_micro import MicroArena

T = TypeVar("T")


class Answers:
    """Keeps what was answered, so that devices with one accelerator cost one question."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], object] = {}
        self._begun: dict[tuple[object, ...], Future[Placement]] = {}

    def ask(self, oracle: str, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
        """What an oracle says of a model.

        Raises:
            CannotSay: it can't be asked on this machine, or gave no answer.
        """
        key = self._key(oracle, facts, accelerator)
        if (begun := self._begun.pop(key, None)) is not None:
            return self._once(key, begun.result)
        return self._once(key, lambda: self._asked(oracle, facts, accelerator))

    def begin(self, oracle: str, facts: ModelFacts, accelerator: Accelerator | None) -> None:
        """Starts to ask, beside other work, what `ask` is to give."""
        key = self._key(oracle, facts, accelerator)
        if key not in self._known and key not in self._begun:
            executor = ThreadPoolExecutor(1)
            self._begun[key] = executor.submit(self._asked, oracle, facts, accelerator)
            executor.shutdown(wait=False)

    def arena(self, facts: ModelFacts) -> MicroArena:
        """What TFLite Micro takes for a model.

        Raises:
            CannotSay: it can't be asked on this machine, or can't run the model.
        """
        from .oracles.tflite_micro import arena

        return self._once(("arena", *_model(facts)), lambda: arena(facts.path))

    def _once(self, key: tuple[object, ...], ask: Callable[[], T]) -> T:
        if key not in self._known:
            try:
                self._known[key] = ask()
            except CannotSay as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, CannotSay):
            raise known
        return cast("T", known)

    @staticmethod
    def _key(oracle: str, facts: ModelFacts, accelerator: Accelerator | None) -> tuple[object, ...]:
        options = accelerator.compiler_options if accelerator else {}
        return (oracle, *_model(facts), tuple(sorted(options.items())))

    @staticmethod
    def _asked(oracle: str, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
        function = ORACLES.get(oracle)
        if function is None:
            raise CannotSay(f"nothing here asks {oracle}")
        return function(facts.path, facts, accelerator)


def _model(facts: ModelFacts) -> tuple[object, ...]:
    return facts.path, facts.sha256


def settled(asked: Placement, tabled: Placement) -> Placement:
    """The answer that was asked, with the table's reasons: they are the same for nodes alike.

    What a program says of a node often names that node's tensors; it is kept where the table has
    no reason against the node.
    """
    reasons = {(n.graph, n.index): n.reason for n in tabled.nodes if n.place in ("cpu", "nowhere")}
    nodes = tuple(
        node
        if node.place == "accelerator" or (reason := reasons.get((node.graph, node.index))) is None
        else node.model_copy(update={"reason": reason})
        for node in asked.nodes
    )
    return asked.model_copy(update={"nodes": nodes})
