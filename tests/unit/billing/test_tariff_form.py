from pathlib import Path

import pytest

from cloud_api.billing import coverage, tariff_form
from cloud_api.billing.tariff_file import dump_tariff, load_tariff, read_tariff

TEMPLATES = sorted((Path(coverage.__file__).parent / "tariffs").glob("*.yaml"))
VERSIONS = [(path, index) for path in TEMPLATES for index in range(len(load_tariff(path).tariff.versions))]


def fields_of(place, prefix=""):
    """What a browser sends of a form: one name and its values per field."""
    for key, value in place.items() if isinstance(place, dict) else enumerate(place):
        name = f"{prefix}{key}"
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from fields_of(value, name + ".")
        elif value or not isinstance(value, list):
            yield name, value if isinstance(value, list) else [value]


@pytest.mark.parametrize(("path", "index"), VERSIONS, ids=lambda v: getattr(v, "stem", str(v)))
def test_a_file_that_goes_through_the_form_is_the_same_file(path, index):
    tariff = load_tariff(path).tariff
    sent = dict(fields_of(tariff_form.form_of(tariff, tariff.versions[index])))
    data, place = tariff_form.file_data(tariff_form.from_fields(sent), tariff)
    again = read_tariff(data).tariff
    assert place == index
    assert again == tariff
    assert dump_tariff(again) == dump_tariff(tariff)
