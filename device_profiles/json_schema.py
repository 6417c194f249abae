"""Write `profile.schema.json`, which editors use for completion: `python -m device_profiles.json_schema`."""

import json
from pathlib import Path

from pydantic import TypeAdapter

from device_profiles import schema

TARGET = Path(__file__).parent / "profile.schema.json"


def rendered() -> str:
    """Return the schema as it should stand in the file."""
    generated = TypeAdapter(schema.ProfileFile).json_schema()
    # A variant states only what differs; the loader finds what is missing after merging.
    generated["$defs"]["ModbusPointFile"]["required"] = ["name"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Device profile"}
    return json.dumps({**head, **generated}, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
