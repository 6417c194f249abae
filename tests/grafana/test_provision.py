"""The push, against a small HTTP server that stands for Grafana's API (folders, dashboards, token)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from grafana.build import build_all
from grafana.provision import FOLDER_UID, ProvisionError, push

TOKEN = "glsa_test"


class GrafanaStandIn(ThreadingHTTPServer):
    """Keeps folders and dashboards in memory; answers as Grafana 11 does where the push asks."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = {}
        self.dashboards = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        uid = self.path.rpartition("/")[2]
        if self._allowed():
            found = self.path.startswith("/api/folders/") and self.server.folders.get(uid)
            self._answer(200 if found else 404, found or {"message": "folder not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if self.path == "/api/folders":
            self.server.folders[body["uid"]] = body
            self._answer(200, body)
        elif self.path == "/api/dashboards/db" and body["folderUid"] in self.server.folders:
            self._store(body)
        else:
            self._answer(400, {"message": "folder not found"})

    def _store(self, body):
        board = body["dashboard"]
        known = self.server.dashboards.get(board["uid"])
        if known and not body["overwrite"]:
            self._answer(412, {"message": "name-exists", "status": "name-exists"})
            return
        version = known["version"] + (known["board"] != board) if known else 1
        self.server.dashboards[board["uid"]] = {"board": board, "version": version, "folder": body["folderUid"]}
        self._answer(
            200, {"uid": board["uid"], "url": f"/d/{board['uid']}", "version": version, "status": "success", "id": 1}
        )

    def _allowed(self):
        if self.headers["Authorization"] == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"message": "Invalid API key"})
        return False

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def grafana_api():
    server = GrafanaStandIn()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_dashboard_arrives_in_the_folder_as_it_was_built(grafana_api):
    pushed = push(grafana_api.url, TOKEN)
    built = {json.loads(content)["uid"]: json.loads(content) for content in build_all().values()}
    assert {one.uid for one in pushed} == set(built)
    assert {uid: kept["board"] for uid, kept in grafana_api.dashboards.items()} == built
    assert {kept["folder"] for kept in grafana_api.dashboards.values()} == {FOLDER_UID}


def test_pushing_twice_changes_nothing(grafana_api):
    push(grafana_api.url, TOKEN)
    assert {one.version for one in push(grafana_api.url, TOKEN)} == {1}
    assert len(grafana_api.folders) == 1


def test_a_wrong_token_is_one_clear_error(grafana_api):
    with pytest.raises(ProvisionError, match="token"):
        push(grafana_api.url, "wrong")
    assert grafana_api.dashboards == {}


def test_without_built_dashboards_it_says_what_to_run(grafana_api, tmp_path):
    with pytest.raises(ProvisionError, match="make dashboards"):
        push(grafana_api.url, TOKEN, folder=tmp_path)
