"""One evaluator: every rule says the same bits however time is cut, and remembers no more than its windows."""

import json
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_api.faults import derived
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import FAULT, NO_EVAL, OK, Evaluator
from cloud_api.faults.rules import bind, roles

ZONE = ZoneInfo("Asia/Shanghai")
T0 = 1_700_006_400
RULES = list(catalogue().rules.values())
ROLES = sorted(roles())
COUNT = 600
# Beside windows a rule keeps single numbers only: a run, a last value, the state of a latch.
SINGLES_MAX = 40


def columns_of(seed: int) -> dict[str, np.ndarray]:
    """Every role at once: walks, switches, plateaus and gaps, wild enough to reach limits in both directions."""
    rng = np.random.default_rng(seed)
    found = {}
    for role in ROLES:
        if roles()[role].unit == "bool":
            switched = rng.random(COUNT) < rng.choice([0.002, 0.05, 0.3])
            values = (np.cumsum(switched) % 2).astype(float)
        else:
            walk = np.abs(np.cumsum(rng.normal(0, 3, COUNT)) + rng.uniform(-20, 60))
            values = np.round(np.where(rng.random(COUNT) < 0.1, 0.0, walk), 2)
            plateau = slice(int(rng.integers(0, COUNT)), COUNT)
            values[plateau] = values[plateau.start]
        values[rng.random(COUNT) < 0.02] = np.nan
        found[role] = values
    return found


def evaluator(tick_s: int, memory: dict | None = None) -> Evaluator:
    return Evaluator(rules=RULES, available=frozenset(ROLES), tick_s=tick_s, zone=ZONE, memory=memory or {})


def seconds_of(tick_s: int) -> np.ndarray:
    return T0 + tick_s * np.arange(COUNT, dtype=np.int64)


def in_pieces(seed: int, tick_s: int, cuts: list[int]) -> tuple[dict, dict, dict]:
    """Judge in pieces, with the memory written down and read back in between: codes, runs, the last memory."""
    columns, seconds = columns_of(seed), seconds_of(tick_s)
    codes: dict[str, list[np.ndarray]] = {r.id: [] for r in RULES}
    runs: dict[str, list[np.ndarray]] = {r.id: [] for r in RULES}
    begin, memory = 0, {}
    for length in [*cuts, COUNT]:
        part = slice(begin, min(begin + length, COUNT))
        here = evaluator(tick_s, memory)
        for name, verdicts in here.run(seconds[part], {n: v[part] for n, v in columns.items()}).items():
            codes[name].append(verdicts.codes)
            runs[name].append(verdicts.runs)
        memory = json.loads(json.dumps(here.memory))
        begin = part.stop
    return codes, runs, memory


def test_with_every_role_bound_no_rule_of_the_catalogue_is_left_out():
    assert len(RULES) >= 207
    assert evaluator(60).missing() == {}


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([60, 300, 3600]), st.lists(st.integers(1, 250), min_size=1, max_size=8)
)
def test_every_rule_says_the_same_bits_streamed_in_any_pieces_as_replayed_at_once(seed, tick_s, cuts):
    whole = evaluator(tick_s).run(seconds_of(tick_s), columns_of(seed))
    codes, runs, _ = in_pieces(seed, tick_s, cuts)
    for rule in RULES:
        assert np.concatenate(codes[rule.id]).tobytes() == whole[rule.id].codes.tobytes(), rule.id
        assert np.concatenate(runs[rule.id]).tobytes() == whole[rule.id].runs.tobytes(), rule.id


def test_streamed_one_tick_at_a_time_it_is_still_the_same():
    whole = evaluator(60).run(seconds_of(60), columns_of(7))
    codes, _, _ = in_pieces(7, 60, [200, *[1] * 40])
    for rule in RULES:
        assert np.concatenate(codes[rule.id]).tobytes() == whole[rule.id].codes.tobytes(), rule.id


def test_the_data_above_make_the_rules_speak():
    """Equal bits prove nothing where a rule is silent: over a few seeds most rules must say more than one thing."""
    said: dict[str, set[int]] = {r.id: set() for r in RULES}
    for seed in range(6):
        for tick_s in (60, 3600):
            for name, verdicts in evaluator(tick_s).run(seconds_of(tick_s), columns_of(seed)).items():
                said[name] |= set(np.unique(verdicts.codes).tolist())
    lively = [name for name, codes in said.items() if OK in codes]
    assert len(lively) > 0.8 * len(RULES), sorted(set(said) - set(lively))
    assert sum(FAULT in codes for codes in said.values()) > 0.5 * len(RULES)
    assert all(NO_EVAL in codes or OK in codes for codes in said.values())


@pytest.mark.parametrize("tick_s", [60, 3600])
def test_a_rule_remembers_no_more_than_its_windows_however_long_it_runs(tick_s):
    *_, memory = in_pieces(3, tick_s, [100, 100, 100])
    for rule in RULES:
        bound = bind(rule, frozenset(ROLES))
        assert numbers_in(memory[rule.id]) <= bound.memory_ticks(tick_s) + SINGLES_MAX, rule.id
    windows = (derived.MODE_DELAY_S + 3 * derived.AVERAGE_S) // tick_s
    assert numbers_in(memory["derived"]) <= 2 * windows + SINGLES_MAX


def numbers_in(memory: object) -> int:
    if isinstance(memory, dict):
        return sum(numbers_in(v) for v in memory.values())
    return sum(numbers_in(v) for v in memory) if isinstance(memory, list) else 1
