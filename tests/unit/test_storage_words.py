import pytest

from cloud_api.operations.storage.words import size


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"), (5 * 1024**5, "5120.0 TiB")],
)
def test_a_size_is_written_in_the_unit_that_fits(count, words):
    assert size(count) == words
