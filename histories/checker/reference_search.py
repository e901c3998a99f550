"""The reference search: just-in-time linearization, written to be read rather than fast.

Wing and Gong (1993) search for an order of the operations that a single object could have
executed; Lowe ("Testing for linearizability", 2017) puts operations into the order only when one
of them returns. The history is read once. A *configuration* is one way in which everything that
returned so far can have been ordered: the object's state, and which of the operations that are open
now have already taken effect. When an operation returns, every configuration is extended by open
operations until that one has taken effect; when none can be, the history is not linearizable, and
this operation is where it fails.

Four rules keep the set of configurations small, and none of them loses an order:

1. A read takes effect as soon as its answer fits the state: it changes nothing, so a configuration
   with it done is as good as one without it.
2. Of two configurations that differ only in the operations with unknown outcome that they used,
   the one that used fewer dominates: the others may still take effect later, or never.
3. Of several open operations that do the same with unknown outcome, the first one is used first.
4. Reads with unknown outcome say nothing, and are left out.

Memory follows the number of operations open at once, not the length of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from histories.budget import UNLIMITED, Budget, LimitReached
from histories.models import ILLEGAL, Model
from histories.operations import NEVER, Operation

Trail: TypeAlias = "tuple[int, Trail] | None"
"""The order so far, the latest operation first: shared between configurations."""


class SearchResult(NamedTuple):
    """`order`: the ids in the order of their linearization points, for "valid". `failed_at`: the
    operation whose return no order explains, for "invalid"; `best` is then the longest order of
    what came before it. `judged`: how many operations had returned when the search ended.
    """

    outcome: str
    order: tuple[int, ...] = ()
    failed_at: int | None = None
    judged: int = 0
    reason: str | None = None


class _Config(NamedTuple):
    state: Any
    done: frozenset[int]  # open operations with known outcome that have taken effect
    maybe: frozenset[int]  # open operations with unknown outcome that have taken effect


CONFIGS_MAX: Final = 2_000_000
"""A bound on the configurations alive at once: beyond it the search gives up with "unknown"."""


class Search:
    """One partition's search. Feed it calls and returns in their order."""

    def __init__(self, model: Model, budget: Budget, configs_max: int = CONFIGS_MAX) -> None:
        self.model, self.budget, self.configs_max = model, budget, configs_max
        self.open: dict[int, Operation] = {}
        self.configs: dict[_Config, Trail] = {
            _Config(model.initial(), frozenset(), frozenset()): None
        }
        self._by_process = getattr(model, "by_process", False)
        self._steps = 0

    def call(self, op: Operation) -> None:
        if op.outcome == "info" and op.f in self.model.reads:
            return
        self.open[op.id] = op
        if self._is_read(op):
            self.configs = self._pruned(
                [self._absorb(config, trail, (op,)) for config, trail in self.configs.items()]
            )

    def returned(self, op: Operation) -> bool:
        """Let `op` return; False when no configuration allows it."""
        alive: list[tuple[_Config, Trail]] = []
        waiting = [(c, t) for c, t in self.configs.items() if op.id not in c.done]
        seen = set(self.configs)
        alive += ((c, t) for c, t in self.configs.items() if op.id in c.done)
        while waiting:
            config, trail = waiting.pop()
            for successor, longer in self._successors(config, trail):
                if successor in seen:
                    continue
                seen.add(successor)
                (alive if op.id in successor.done else waiting).append((successor, longer))
            self._check_limits(len(seen))
        del self.open[op.id]
        gone = frozenset((op.id,))
        found = [(_Config(c.state, c.done - gone, c.maybe), t) for c, t in alive]
        if found:
            self.configs = self._pruned(found)
        return bool(found)

    def _successors(self, config: _Config, trail: Trail) -> list[tuple[_Config, Trail]]:
        found: list[tuple[_Config, Trail]] = []
        tried: set[tuple[str, Any, Any]] = set()
        for op in self.open.values():
            if op.id in config.done or op.id in config.maybe:
                continue
            unknown = op.outcome == "info"
            if unknown:
                does = (op.f, op.value, op.process if self._by_process else None)
                if does in tried:
                    continue
                tried.add(does)
            state = self.model.step(config.state, op)
            if state is ILLEGAL or (unknown and state == config.state):
                continue
            one = frozenset((op.id,))
            done, maybe = (
                (config.done, config.maybe | one) if unknown else (config.done | one, config.maybe)
            )
            found.append(
                self._absorb(_Config(state, done, maybe), (op.id, trail), self.open.values())
            )
        return found

    def _absorb(self, config: _Config, trail: Trail, candidates: Any) -> tuple[_Config, Trail]:
        """Let every open read whose answer fits the state take effect."""
        absorbed = set()
        for op in candidates:
            if not self._is_read(op) or op.id in config.done:
                continue
            if self.model.step(config.state, op) is not ILLEGAL:
                absorbed.add(op.id)
                trail = (op.id, trail)
        if absorbed:
            config = config._replace(done=config.done | absorbed)
        return config, trail

    def _is_read(self, op: Operation) -> bool:
        return op.outcome == "mismatch" or op.f in self.model.reads

    def _pruned(self, found: list[tuple[_Config, Trail]]) -> dict[_Config, Trail]:
        """Drop the configurations that another one dominates."""
        groups: dict[tuple[Any, frozenset[int]], list[tuple[_Config, Trail]]] = {}
        for config, trail in found:
            groups.setdefault((config.state, config.done), []).append((config, trail))
        kept: dict[_Config, Trail] = {}
        for group in groups.values():
            if len(group) > 1:
                group.sort(key=lambda item: len(item[0].maybe))
            minimal: list[_Config] = []
            for config, trail in group:
                if not any(m.maybe <= config.maybe for m in minimal):
                    minimal.append(config)
                    kept[config] = trail
        return kept

    def _check_limits(self, configs: int) -> None:
        self._steps += 1
        if configs > self.configs_max:
            raise LimitReached(f"more than {self.configs_max} configurations at once")
        if self._steps % 256 == 0:
            self.budget.check()


def search(
    model: Model, operations: Sequence[Operation], budget: Budget = UNLIMITED
) -> SearchResult:
    """Judge one partition: operations of one object."""
    run = Search(model, budget)
    moments = [(op.call, False, op) for op in operations]
    moments += [(op.ret, True, op) for op in operations if op.ret != NEVER]
    moments.sort(key=lambda moment: moment[0])
    judged = 0
    try:
        budget.check()
        for number, (_, is_return, op) in enumerate(moments, 1):
            if not is_return:
                run.call(op)
            elif run.returned(op):
                judged += 1
            else:
                return SearchResult("invalid", failed_at=op.id, judged=judged)
            if number % 64 == 0:
                budget.check()
    except LimitReached as limit:
        return SearchResult("unknown", judged=judged, reason=str(limit))
    trail = next(iter(run.configs.values()))
    order: list[int] = []
    while trail is not None:
        order.append(trail[0])
        trail = trail[1]
    return SearchResult("valid", order=tuple(reversed(order)), judged=judged)
