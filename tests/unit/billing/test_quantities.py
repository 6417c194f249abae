from cloud_api.billing.inputs import QUANTITIES
from device_profiles.vocabulary import QUANTITIES as VOCABULARY


def test_every_utility_is_billed_by_a_quantity_that_meters_count():
    assert [name for name in QUANTITIES.values() if name not in VOCABULARY] == []
