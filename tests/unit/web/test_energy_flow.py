from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.metering.lengths import Lengths
from cloud_api.metering.model import Energy, Meter
from cloud_api.operations.energy_flow.flow import flow


def meter(number, parent=None, use="tenant"):
    return Meter(
        id=number, site_id=1, parent_meter_id=parent, code=f"m{number}", name_zh=f"表{number}", name_en=f"Meter {number}",
        utility="electricity", use=use, lengths=Lengths.always(15), zone=ZoneInfo("Asia/Shanghai"),
    )  # fmt: skip


def counted(number, kwh, *, missing=0):
    return Energy(
        meter_id=number, quantity=Decimal(kwh), estimated=Decimal(0), edited=Decimal(0),
        interval_count=96 - missing, missing_count=missing, expected_count=96,
    )  # fmt: skip


TREE = [meter(1, use="main"), meter(2, 1, "floor"), meter(3, 2), meter(4, 2)]


def test_what_the_meters_below_do_not_count_is_a_flow_of_its_own():
    found = flow(TREE, {1: counted(1, 100), 2: counted(2, 95), 3: counted(3, 60), 4: counted(4, 35)})
    shown = [(link.source.id, link.to.id if link.to else None, link.energy_kwh) for link in found.links]
    assert shown == [(1, 2, 95), (1, None, 5), (2, 3, 60), (2, 4, 35)]
    assert (found.total_kwh, found.lost_kwh) == (100, 5)


def test_energy_is_conserved_at_every_meter_that_balances():
    found = flow(TREE, {1: counted(1, 100), 2: counted(2, 95), 3: counted(3, 60), 4: counted(4, 30)})
    for number, kwh in {1: 100, 2: 95}.items():
        assert sum(link.energy_kwh for link in found.links if link.source.id == number) == kwh


def test_meters_that_count_more_than_the_one_above_are_named_and_not_hidden():
    found = flow(TREE, {1: counted(1, 100), 2: counted(2, 95), 3: counted(3, 80), 4: counted(4, 30)})
    assert [m.id for m in found.exceeding] == [2]
    assert all(link.energy_kwh > 0 for link in found.links)


def test_a_meter_that_says_nothing_makes_no_loss():
    found = flow(TREE, {1: counted(1, 100), 2: counted(2, 95), 3: counted(3, 60)})
    assert found.lost_kwh == 5
    assert [m.id for m in flow(TREE, {1: counted(1, 9, missing=4)}).incomplete] == [1]
