"""Edge and cloud share no code, so the words they share are compared here."""

from typing import get_args

from cloud_api.devices.model import CataloguePoint
from device_profiles.vocabulary import PointKind


def test_the_cloud_accepts_every_kind_of_point_that_a_profile_may_declare():
    accepted = set(get_args(CataloguePoint.model_fields["kind"].annotation))
    assert {kind.value for kind in PointKind} == accepted
