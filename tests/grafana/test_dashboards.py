"""Do the dashboards query, and show data?"""

import json
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import yaml

from grafana.boards import BOARDS
from grafana.build import FOLDER, build_all
from grafana.panels import DATASOURCE_UID

PROVISIONING = FOLDER.with_name("provisioning")


def expand(sql, *, hours=48, interval="15m", site="hz-park"):
    """Put in for Grafana's macros and variables what its PostgreSQL data source puts in."""
    until = datetime.now(UTC)
    between = f"BETWEEN '{(until - timedelta(hours=hours)).isoformat()}' AND '{until.isoformat()}'"
    sql = re.sub(r"\$__timeFilter\(([^)]+)\)", rf"\1 {between}", sql)
    sql = re.sub(
        r"\$__timeGroup\(([^,]+),\s*([^)]+)\)",
        lambda m: f"floor(extract(epoch from {m[1]})/900)*900",
        sql.replace("$__interval", interval),
    )
    sql = sql.replace("$site", site)
    assert "$" not in sql, sql
    return sql


def queries(file_content):
    board = json.loads(file_content)
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield f"{board['uid']}: {panel['title']}", target
    for variable in board["templating"]["list"]:
        yield f"{board['uid']}: ${variable['name']}", {"rawSql": variable["query"], "format": "table"}


def test_every_query_of_every_dashboard_returns_rows_as_grafanas_role(filled, grafana):
    empty, asked = [], 0
    for content in build_all().values():
        for place, target in queries(content):
            cursor = grafana.execute(expand(target["rawSql"]))
            names = [column.name for column in cursor.description]
            rows = cursor.fetchall()
            asked += 1
            if not rows or all(value is None for value in rows[0]):
                empty.append(place)
            if target["format"] == "time_series":
                assert names[0] == "time", place
                assert rows == sorted(rows, key=lambda row: row[0]), place
    assert not empty, "no rows:\n" + "\n".join(empty)
    assert asked >= 2 * sum(len(json.loads(c)["panels"]) for n, c in build_all().items() if n.endswith("zh.json"))


def test_grafanas_role_reads_the_reporting_views_and_nothing_else(grafana):
    views = "SELECT viewname FROM pg_views WHERE schemaname = 'reporting'"
    for (view,) in grafana.execute(views).fetchall():
        grafana.execute(psycopg.sql.SQL("SELECT * FROM reporting.{} LIMIT 1").format(psycopg.sql.Identifier(view)))
    for table in ("app.app_user", "app.observation", "app.user_session"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            grafana.execute(f"SELECT 1 FROM {table}")
    with pytest.raises(psycopg.Error):
        grafana.execute("CREATE TABLE reporting.mine ()")


def test_the_views_name_no_person_and_no_card(grafana):
    columns = grafana.execute("SELECT column_name FROM information_schema.columns WHERE table_schema = 'reporting'")
    names = {row[0] for row in columns}
    assert not names & {"login", "email", "credential", "display_name", "acknowledged_by", "actor"}


def test_the_committed_dashboards_are_those_that_the_code_builds():
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == build_all()


def test_both_languages_have_the_same_panels_in_the_same_places():
    files = build_all()
    for board in BOARDS:
        shapes = [
            [(p["type"], p["gridPos"]) for p in json.loads(files[f"{board.key}.{language}.json"])["panels"]]
            for language in ("zh", "en")
        ]
        assert shapes[0] == shapes[1]


def test_panels_do_not_overlap_and_stay_on_the_grid():
    for name, content in build_all().items():
        taken = set()
        for panel in json.loads(content)["panels"]:
            p = panel["gridPos"]
            cells = {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
            assert p["x"] + p["w"] <= 24, name
            assert not cells & taken, f"{name}: {panel['title']}"
            taken |= cells


def test_provisioning_names_the_data_source_that_the_panels_ask():
    [source] = yaml.safe_load((PROVISIONING / "datasources/wattlease.yaml").read_text())["datasources"]
    assert source["uid"] == DATASOURCE_UID
    assert source["user"] == "wattlease_grafana"
    for content in build_all().values():
        for panel in json.loads(content)["panels"]:
            assert panel["datasource"]["uid"] == DATASOURCE_UID
            assert panel["datasource"]["type"] == source["type"]


def test_the_mounted_folder_is_the_one_that_provisioning_reads():
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/wattlease.yaml").read_text())["providers"]
    compose = yaml.safe_load((FOLDER.parents[1] / "deploy/compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["../grafana/dashboards"] == provider["options"]["path"]
    assert mounts["../grafana/provisioning"] == "/etc/grafana/provisioning"
