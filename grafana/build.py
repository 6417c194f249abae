"""Write every dashboard, in both languages, to `dashboards/*.json`: `python -m grafana.build` (`make dashboards`)."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards import BOARDS
from grafana.texts import LANGUAGES

FOLDER = Path(__file__).with_name("dashboards")


def build_all() -> dict[str, str]:
    """Return the files' contents by name."""
    return {
        f"{board.key}.{language}.json": json.dumps(
            board.build(language), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for board in BOARDS
        for language in LANGUAGES
    }


def main() -> None:
    """Write what changed and remove what is no longer built."""
    files = build_all()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
            print(f"removed {path.name}")
    for name, content in files.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
