"""What engineers set per equipment: rules switched off, other parameters. What does not fit is left out and named."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.faults.bindings import Equipment
from cloud_api.faults.catalogue import catalogue, rule_named
from cloud_api.faults.rules import Rule, RuleError

queries = load_queries(__file__)

Settings = Mapping[str, Mapping[str, Any]]


async def rules_of(conn: AsyncConnection, equipment: Equipment) -> tuple[list[Rule], list[str]]:
    """Return the rules that hold for an equipment, with what engineers set, and the settings that do not fit."""
    return chosen(equipment, (await settings(conn, equipment.id)).get(equipment.id, {}))


async def settings(conn: AsyncConnection, equipment_id: int | None = None) -> dict[int, dict[str, dict[str, Any]]]:
    """Return, by equipment and rule, what engineers set."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in await all_rows(conn, queries.rule_settings, {"equipment_id": equipment_id}):
        found.setdefault(row["equipment_id"], {})[row["rule"]] = row
    return found


def chosen(equipment: Equipment, set_here: Settings) -> tuple[list[Rule], list[str]]:
    """Return the family's rules as they were set, and those that people placed on points of their choice.

    A setting that does not fit any more takes out its rule and no other.
    """
    family = catalogue().family(equipment.family)
    rules, problems = [r for r in family if r.id not in set_here], []
    for key, setting in sorted(set_here.items()):
        if setting["is_enabled"]:
            try:
                rules.append(rule_named(key).with_params(setting["params"]))
            except RuleError as error:
                problems.append(str(error))
    return rules, problems


async def set_rule(
    conn: AsyncConnection,
    *,
    equipment_id: int,
    rule: str,
    is_enabled: bool,
    params: Mapping[str, str | float | bool],
    set_by: str,
    set_at: datetime,
) -> bool:
    """Switch a rule on or off for an equipment or change its parameters; False when there is no such equipment.

    Raises RuleError for an unknown rule or an impossible parameter.
    """
    rule_named(rule).with_params(params)
    values = {
        "equipment_id": equipment_id,
        "rule": rule,
        "is_enabled": is_enabled,
        "params": Jsonb(dict(params)),
        "set_by": set_by,
        "set_at": set_at,
    }
    return bool(await all_rows(conn, queries.set_rule, values))
