"""The small language of fault rules: parsed once, checked against roles and parameters, run on columns of ticks.

`and or not`, comparisons, arithmetic, `a if c else b`, and the functions listed in FUNCTIONS. Nothing else of Python is
accepted. Every value may be unknown (NaN); an unknown operand makes the result unknown.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import series
from cloud_api.faults.series import Array, Memory


class ExpressionError(ValueError):
    """A rule's expression cannot be understood; the text says what and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive ticks: their instants (seconds since 1970, UTC) and the columns of roles."""

    seconds: NDArray[np.int64]
    columns: Mapping[str, Array]
    tick_s: int


Node = Callable[[Chunk, Memory], Array]

_COMPARISONS: dict[type, Callable[[Array, Array], Array]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type, Callable[[Array, Array], Array]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}
_PLAIN: dict[str, tuple[int, Callable[..., Array]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, lambda x: np.sqrt(np.where(x < 0, np.nan, x))),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
}
# Functions over time: (number of arguments, which of them is a duration in seconds).
_TIMED: dict[str, tuple[int, Callable[[Array, int, Memory], Array]]] = {
    "avg": (2, series.moving_average),
    "mad": (2, series.moving_deviation),
    "variance": (2, series.moving_variance),
    "total": (2, lambda x, n, memory: series.moving_sum(x, n, memory)[0]),
    "changes": (2, series.changes),
    "starts": (2, series.starts),
    "crossings": (2, series.crossings),
    "held": (2, series.held),
    "before": (2, series.lagged),
}
# How many windows of past values a function keeps; `held` only counts.
_TAILS = {"held": 0, "mad": 2, "variance": 2, "crossings": 2}
FUNCTIONS = (*_PLAIN, *_TIMED, "flat", "sampled", "hysteresis", "cusum")


@dataclass(slots=True)
class _Compiler:
    source: str
    roles: frozenset[str]
    parameters: Mapping[str, float]
    used: set[str] = field(default_factory=set)
    count: int = 0
    windows: list[int] = field(default_factory=list)

    def node(self, tree: ast.expr) -> Node:  # noqa: C901, PLR0911  # One case per kind of expression, in one table.
        match tree:
            case ast.Constant(value=bool() | int() | float() as value):
                return _constant(float(value))
            case ast.Name(id=name):
                return self._name(name)
            case ast.BoolOp(op=op, values=values):
                return _fold(np.minimum if isinstance(op, ast.And) else np.maximum, [self.node(v) for v in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _apply(lambda x: 1.0 - x, [self.node(operand)])
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _apply(np.negative, [self.node(operand)])
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return _apply(_divide, [self.node(left), self.node(right)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _apply(_ARITHMETIC[type(op)], [self.node(left), self.node(right)])
            case ast.Compare():
                return self._compare(tree)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return _apply(_choose, [self.node(test), self.node(body), self.node(orelse)])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(name, args)
            case _:
                raise ExpressionError(f"{self.source!r}: {ast.unparse(tree)!r} is not part of the rule language")

    def _name(self, name: str) -> Node:
        if name in self.parameters:
            return _constant(self.parameters[name])
        if name not in self.roles:
            raise ExpressionError(f"{self.source!r}: {name!r} is neither a role nor a parameter of the rule")
        self.used.add(name)
        return lambda chunk, _memory: chunk.columns[name]

    def _compare(self, tree: ast.Compare) -> Node:
        parts: list[Node] = []
        left = self.node(tree.left)
        for op, right_tree in zip(tree.ops, tree.comparators, strict=True):
            if type(op) not in _COMPARISONS:
                raise ExpressionError(f"{self.source!r}: this comparison is not part of the rule language")
            right, how = self.node(right_tree), _COMPARISONS[type(op)]
            parts.append(_apply(lambda a, b, how=how: series.compare(a, b, how), [left, right]))
            left = right
        return _fold(np.minimum, parts)

    def _call(self, name: str, args: list[ast.expr]) -> Node:
        if name in _PLAIN:
            arity, function = _PLAIN[name]
            self._arity(name, args, arity)
            return _apply(function, [self.node(a) for a in args])
        self.count += 1
        slot = f"{name}{self.count}"
        if name in _TIMED:
            arity, timed = _TIMED[name]
            self._arity(name, args, arity)
            seconds = self._seconds(name, args[1])
            self.windows += [seconds] * _TAILS.get(name, 1)
            return _timed(self.node(args[0]), timed, seconds, slot)
        if name == "flat":
            self._arity(name, args, 3)
            return _flat(self.node(args[0]), self.node(args[1]), self._seconds(name, args[2]), slot)
        if name == "sampled":
            self._arity(name, args, 2)
            x, period = self.node(args[0]), self._seconds(name, args[1])
            return lambda chunk, memory: series.sampled(
                x(chunk, memory), chunk.seconds, period, memory.setdefault(slot, {})
            )
        if name == "hysteresis":
            self._arity(name, args, 3)
            x, on, off = (self.node(a) for a in args)
            return lambda chunk, memory: series.hysteresis(
                x(chunk, memory), on(chunk, memory), off(chunk, memory), memory.setdefault(slot, {})
            )
        if name == "cusum":
            return self._cusum(args, slot)
        raise ExpressionError(f"{self.source!r}: there is no function {name!r}; known: {', '.join(FUNCTIONS)}")

    def _cusum(self, args: list[ast.expr], slot: str) -> Node:
        self._arity("cusum", args, 6)
        error, mean, sigma, enabled = (self.node(args[i]) for i in (0, 1, 2, 5))
        slack, every = self._number("cusum", args[3]), self._seconds("cusum", args[4])

        def run(chunk: Chunk, memory: Memory) -> Array:
            z = _divide(error(chunk, memory) - mean(chunk, memory), sigma(chunk, memory))
            period = max(every, chunk.tick_s)
            return series.cusum(z, enabled(chunk, memory), slack, period, chunk.seconds, memory.setdefault(slot, {}))

        return run

    def _arity(self, name: str, args: list[ast.expr], arity: int) -> None:
        if len(args) != arity:
            raise ExpressionError(f"{self.source!r}: {name} takes {arity} arguments, not {len(args)}")

    def _seconds(self, name: str, tree: ast.expr) -> int:
        seconds = self._number(name, tree)
        if not 0 < seconds <= 35 * 86_400:
            raise ExpressionError(f"{self.source!r}: the duration of {name} must lie between 1 s and 35 days")
        return int(seconds)

    def _number(self, name: str, tree: ast.expr) -> float:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
            return float(tree.value)
        if isinstance(tree, ast.Name) and tree.id in self.parameters:
            return self.parameters[tree.id]
        raise ExpressionError(f"{self.source!r}: {name} needs a number or a parameter, not {ast.unparse(tree)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled expression, the roles it reads, and the windows (seconds) of past values that it keeps."""

    source: str
    roles: frozenset[str]
    run: Node
    windows: tuple[int, ...] = ()

    def memory_ticks(self, tick_s: int) -> int:
        """Return how many past values it remembers at most; what else it remembers are single numbers."""
        return sum(ticks(window, tick_s) for window in self.windows)


def compile_expression(source: str, roles: frozenset[str], parameters: Mapping[str, float]) -> Expression:
    """Compile `source`; raises ExpressionError for anything outside the language or an unknown name."""
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"{source!r}: {error.msg} at column {error.offset}") from error
    except RecursionError as error:
        raise ExpressionError(f"{source[:60]!r} … is nested too deeply") from error
    compiler = _Compiler(source=source, roles=roles, parameters=parameters)
    try:
        run = compiler.node(tree.body)
    except RecursionError as error:
        raise ExpressionError(f"{source[:60]!r} … is nested too deeply") from error
    return Expression(source=source, roles=frozenset(compiler.used), run=run, windows=tuple(compiler.windows))


def ticks(seconds: float, tick_s: int) -> int:
    """Return a duration as a number of ticks, at least one."""
    return max(1, round(seconds / tick_s))


def _constant(value: float) -> Node:
    return lambda chunk, _memory: np.full(len(chunk.seconds), value)


def _apply(function: Callable[..., Array], nodes: list[Node]) -> Node:
    return lambda chunk, memory: function(*(node(chunk, memory) for node in nodes))


def _fold(function: Callable[[Array, Array], Array], nodes: list[Node]) -> Node:
    def run(chunk: Chunk, memory: Memory) -> Array:
        result = nodes[0](chunk, memory)
        for node in nodes[1:]:
            result = function(result, node(chunk, memory))
        return result

    return run


def _timed(x: Node, function: Callable[[Array, int, Memory], Array], seconds: int, slot: str) -> Node:
    return lambda chunk, memory: function(x(chunk, memory), ticks(seconds, chunk.tick_s), memory.setdefault(slot, {}))


def _flat(x: Node, tolerance: Node, seconds: int, slot: str) -> Node:
    def run(chunk: Chunk, memory: Memory) -> Array:
        mine = memory.setdefault(slot, {})
        values = x(chunk, memory)
        base = series.sampled(values, chunk.seconds, seconds, mine.setdefault("base", {}))
        near = series.compare(np.abs(values - base), tolerance(chunk, memory), operator.lt)
        return series.held(near, ticks(seconds, chunk.tick_s), mine.setdefault("near", {}))

    return run


def _divide(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)


def _choose(test: Array, body: Array, orelse: Array) -> Array:
    return np.where(np.isnan(test), np.nan, np.where(test == 1, body, orelse))
