"""One evaluator for streaming and replay: columns of ticks in, verdicts out, the same bits however the ticks are cut.

Per tick and rule: suppressed or gate not true → NO_EVAL; condition true for the whole delay → FAULT; condition false
→ OK (after a fault, once it has been false for the clear delay); anything between → NO_EVAL. Memory per rule is bounded
by its longest window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import derived, series
from cloud_api.faults.expressions import Chunk, ticks
from cloud_api.faults.model import Verdict
from cloud_api.faults.rules import Bound, Rule, bind, in_order
from cloud_api.faults.series import Array, Memory

OK, FAULT, NO_EVAL = 0, 1, 2
VERDICTS = (Verdict.OK, Verdict.FAULT, Verdict.NO_EVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """A rule's verdicts over a chunk (codes OK, FAULT, NO_EVAL) and for how many ticks its condition had held."""

    codes: NDArray[np.int8]
    runs: Array


@dataclass(slots=True)
class Evaluator:
    """The rules of one equipment. `memory` is everything it remembers, as plain JSON values."""

    rules: Sequence[Rule]
    available: frozenset[str]
    tick_s: int
    zone: ZoneInfo
    memory: Memory = field(default_factory=dict)
    bound: list[Bound] = field(init=False)
    _wanted: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if self.tick_s <= 0:
            raise ValueError("a tick must last at least a second")
        self.bound = [bind(rule, self.available) for rule in in_order(self.rules)]
        exempting = [e.roles for b in self.bound for e in b.unless]
        self._wanted = frozenset().union(*(b.roles for b in self.bound), *exempting)

    def missing(self) -> dict[str, tuple[str, ...]]:
        """Return the rules that cannot be evaluated with the roles they lack."""
        return {b.rule.id: b.missing for b in self.bound if b.missing}

    def inputs(self, wanted: frozenset[str]) -> frozenset[str]:
        """Return the bound roles that the wanted roles are computed from."""
        return derived.inputs(wanted, self.available)

    def run(self, seconds: NDArray[np.int64], columns: Mapping[str, Array]) -> dict[str, Verdicts]:
        """Evaluate consecutive ticks that follow the ones before; unknown values are NaN."""
        have = derived.compute(
            self._wanted, columns, seconds, self.tick_s, self.zone, self.memory.setdefault("derived", {})
        )
        chunk = Chunk(seconds=seconds, columns=have, tick_s=self.tick_s)
        found: dict[str, Verdicts] = {}
        for bound in self.bound:
            memory = self.memory.setdefault(bound.rule.id, {})
            suppressors = [found[s].codes for s in bound.rule.spec.suppressed_by if s in found]
            found[bound.rule.id] = _judge(bound, chunk, suppressors, memory)
        return found


def _judge(bound: Bound, chunk: Chunk, suppressors: Sequence[NDArray[np.int8]], memory: Memory) -> Verdicts:
    count = len(chunk.seconds)
    if bound.when is None:
        return Verdicts(codes=np.full(count, NO_EVAL, dtype=np.int8), runs=np.zeros(count))
    raw = bound.when.run(chunk, memory.setdefault("when", {}))
    for name in bound.roles:
        if name in chunk.columns:
            raw = np.where(np.isnan(chunk.columns[name]), np.nan, raw)
    if bound.gate is not None:
        raw = np.where(bound.gate.run(chunk, memory.setdefault("gate", {})) == 1, raw, np.nan)
    for number, exemption in enumerate(bound.unless):
        raw = np.where(exemption.run(chunk, memory.setdefault(f"unless{number}", {})) == 1, np.nan, raw)
    for codes in suppressors:
        raw = np.where(codes == FAULT, np.nan, raw)
    return _persist(raw, bound.rule, chunk.tick_s, memory)


def _persist(raw: Array, rule: Rule, tick_s: int, memory: Memory) -> Verdicts:
    true_runs = series.run_length(raw, memory.setdefault("true", {}))
    false_runs = series.run_length(np.where(np.isnan(raw), np.nan, 1.0 - raw), memory.setdefault("false", {}))
    is_fault = true_runs > (ticks(rule.delay_s, tick_s) if rule.delay_s else 0)
    is_clear = false_runs > (ticks(rule.clear_s, tick_s) if rule.clear_s else 0)
    event = np.where(is_fault, 1.0, np.where(is_clear, 0.0, np.nan))
    latched = series.fill_forward(event, memory.get("latched", 0.0))
    if len(raw):
        memory["latched"] = float(latched[-1])
    quiet = (latched == 0) & ~np.isnan(raw)
    codes = np.where(is_fault, FAULT, np.where(quiet, OK, NO_EVAL)).astype(np.int8)
    return Verdicts(codes=codes, runs=true_runs)
