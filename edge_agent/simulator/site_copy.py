"""A copy of a site file with other ports, paths and addresses; comments and order stay as they are."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differs on this machine; None leaves the file's own."""

    base_port: int | None = None  # The lowest port of the file moves here, the others keep their distance.
    broker_port: int | None = None
    serial_folder: Path | None = None
    cloud_url: str | None = None
    credential_file: Path | None = None


def render_site(text: str, changes: Changes) -> str:
    """Return the text of a site file with `changes` applied. Works on the lines, so that a diff stays readable."""
    head, mark, mqtt = text.partition("\nmqtt:")
    if changes.base_port is not None:
        ports = [int(port) for port in re.findall(r"^ +port: (\d+)", head, re.MULTILINE)]
        shift = changes.base_port - min(ports, default=0)
        head = re.sub(r"^( +port: )(\d+)", lambda m: f"{m[1]}{int(m[2]) + shift}", head, flags=re.MULTILINE)
    if changes.serial_folder is not None:
        folder = changes.serial_folder.resolve()
        head = re.sub(r"^( +serial: )(\S+)", lambda m: f"{m[1]}{folder / Path(m[2]).name}", head, flags=re.MULTILINE)
    if changes.cloud_url is not None:
        head = re.sub(r"^( +url: )\S+", lambda m: f"{m[1]}{changes.cloud_url}", head, flags=re.MULTILINE)
    if changes.credential_file is not None:
        file = changes.credential_file.resolve()
        head = re.sub(r"^( +credential_file: )\S+", lambda m: f"{m[1]}{file}", head, flags=re.MULTILINE)
    if changes.broker_port is not None:
        mqtt = re.sub(r"^( +port: )\d+", lambda m: f"{m[1]}{changes.broker_port}", mqtt, flags=re.MULTILINE)
    return head + mark + mqtt
