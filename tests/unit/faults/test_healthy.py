"""Air handlers in good order stay silent; `python -m tests.bench.faults --healthy 100` judges a hundred for a month."""

from dataclasses import replace

import numpy as np
import pytest

from cloud_api.faults import learning, replay
from cloud_api.faults.catalogue import catalogue
from tests.bench.healthy_units import DAY, SEASONS, healthy_units

LEARN_DAYS, DAYS = 5, 2


@pytest.fixture(scope="module")
def units():
    return healthy_units(len(SEASONS), LEARN_DAYS + DAYS)


@pytest.mark.parametrize("number", range(len(SEASONS)), ids=list(SEASONS))
def test_no_rule_finds_anything_on_a_sound_unit_that_has_learned(units, number):
    data = units[number]
    early = np.arange(len(data.seconds)) < LEARN_DAYS * DAY
    learned = learning.fit_unit("ahu", data, early)
    assert learned.constants
    # The week-end after is quiet; what was learned is judged on the same days with fresh eyes.
    done = replay.replay(catalogue().family("ahu"), learning.with_learned(replace(data), learned))
    assert [(f.rule, f.start) for f in done.findings] == []
    assert len(done.missing) < 12


def test_the_same_unit_with_a_stuck_damper_is_found(units):
    data = units[0]  # Winter: outdoor air that nobody asked for costs heat.
    running = data.columns["sf_status"] == 1
    stuck = np.where(running, 0.6, 0.0)
    mat = data.columns["rat"] + stuck * (data.columns["oat"] - data.columns["rat"])
    broken = replace(data, columns=dict(data.columns) | {"oa_dmpr_pos": np.where(running, 60.0, 0.0), "mat": mat})
    found = replay.replay(catalogue().family("ahu"), broken).findings
    assert "AHU-0020a" in {f.rule for f in found}
    assert max(f.kwh_per_day or 0 for f in found if f.rule == "AHU-0020a") > 1
