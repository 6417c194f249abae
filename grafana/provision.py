"""Push the dashboards into a running Grafana, for installations that cannot mount provisioning files.

    GRAFANA_URL=https://grafana.example GRAFANA_TOKEN=… python -m grafana.provision

The token belongs to a service account with the role Editor. Running it twice changes nothing.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, TokenAuth

DASHBOARDS = Path(__file__).with_name("dashboards")
FOLDER_UID = "wattlease"
FOLDER_TITLE = "Wattlease 楼能通"
TIMEOUT_S = 20.0
NOT_FOUND = 404


class ProvisionError(RuntimeError):
    """Grafana did not take a dashboard; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """One dashboard as Grafana keeps it now."""

    uid: str
    url: str
    version: int


def push(url: str, token: str, folder: Path = DASHBOARDS) -> list[Pushed]:
    """Create or update every dashboard of `folder` in Grafana's folder Wattlease."""
    api = GrafanaApi.from_url(url, credential=TokenAuth(token=token), timeout=TIMEOUT_S)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ProvisionError(f"{folder} holds no dashboard; run `make dashboards` first")
    _ensure_folder(api)
    return [_push_one(api, path) for path in files]


def _ensure_folder(api: Any) -> None:
    try:
        api.folder.get_folder(FOLDER_UID)
    except GrafanaClientError as error:
        if error.status_code != NOT_FOUND:
            raise ProvisionError(f"Grafana refuses: {error}; check the token and its role (Editor)") from error
        api.folder.create_folder(FOLDER_TITLE, uid=FOLDER_UID)


def _push_one(api: Any, path: Path) -> Pushed:
    board = json.loads(path.read_text(encoding="utf-8"))
    request = {"dashboard": board, "folderUid": FOLDER_UID, "overwrite": True, "message": "built from code"}
    try:
        answer = api.dashboard.update_dashboard(request)
    except GrafanaException as error:
        raise ProvisionError(f"{path.name}: Grafana refuses: {error}") from error
    return Pushed(uid=answer["uid"], url=answer["url"], version=answer["version"])


def main() -> None:
    """Push by the environment's address and token."""
    missing = [name for name in ("GRAFANA_URL", "GRAFANA_TOKEN") if not os.environ.get(name)]
    if missing:
        raise SystemExit(f"set {' and '.join(missing)}: the address of Grafana and a service account's token")
    try:
        for pushed in push(os.environ["GRAFANA_URL"], os.environ["GRAFANA_TOKEN"]):
            print(f"{pushed.uid} version {pushed.version}: {pushed.url}")
    except ProvisionError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
