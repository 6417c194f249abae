"""`edge-agent cards`: a list of card numbers as the keyed hashes that doors send, for `cloud-api import-cards`."""

import csv
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

COLUMN = "card"


def cards(
    file: Annotated[Path, typer.Argument(help="CSV with a column `card`; the other columns are kept.", metavar="FILE")],
) -> None:
    """Write a list of cards with every number replaced by its keyed hash; the numbers stay here.

    Needs the key that the site's agents use: EDGE_PRIVACY_KEY, or `privacy.key` in EDGE_DATA_DIR.
    """
    from edge_agent.drivers.mqtt.privacy import PrivacyKeyError, load_key
    from edge_agent.settings import AgentSettings

    settings = AgentSettings()
    secret = settings.privacy_key
    if secret is None and not (settings.data_dir / "privacy.key").exists():
        _fail(f"no key in {settings.data_dir}: set EDGE_PRIVACY_KEY or EDGE_DATA_DIR to those of the site's agents")
    try:
        key = load_key(secret.get_secret_value() if secret else None, settings.data_dir)
        sys.stdout.write(hashed(file.read_text(encoding="utf-8-sig"), key))
    except (PrivacyKeyError, OSError, ValueError) as error:
        _fail(f"{file}: {error}")


def hashed(text: str, key: bytes) -> str:
    """Return a CSV with the column `card` hashed. Raises ValueError with the row of a card without a number."""
    from edge_agent.drivers.mqtt.privacy import hash_credential

    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = list(reader.fieldnames or ())
    if COLUMN not in columns:
        raise ValueError(f"there is no column {COLUMN!r}")
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for number, row in enumerate(reader, 2):
        credential = hash_credential(row[COLUMN] or "", key)
        if credential is None:
            raise ValueError(f"row {number}: no card number")
        writer.writerow(row | {COLUMN: credential})
    return out.getvalue()


def _fail(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(1)
