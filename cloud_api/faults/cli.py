"""`cloud-api faults`: replay a trend, list rules and roles, check a map."""

import json
import os
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Fault rules: list them, check a column map, replay a trend.")

_Family = Annotated[str, typer.Option("--equipment", help="Equipment family: ahu, chw, vav, fcu, pmp, meter, …")]
_Map = Annotated[Path, typer.Option("--map", help="YAML file: which column plays which role, in which unit.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_Healthy = Annotated[
    list[str] | None, typer.Option(help="A day known to be healthy (2017-04-01); the learned channel is fitted on it.")
]
OWN_RULES = "CLOUD_FAULT_RULES_FOLDER"  # As the API and the worker read it.
_SEVERITIES = {1: "critical", 2: "high", 3: "warning", 4: "information"}


@app.callback()
def _with_own_rules() -> None:
    from cloud_api.faults.catalogue import use_own_rules

    if folder := os.environ.get(OWN_RULES):
        use_own_rules(Path(folder))


@app.command()
def replay(
    trend: Annotated[Path, typer.Argument(help="CSV (or .csv.gz) with a header line and one row per instant.")],
    equipment: _Family = "ahu",
    map_file: _Map = Path("columns.yaml"),
    as_json: _Json = False,
    healthy: _Healthy = None,
    model: Annotated[Path | None, typer.Option(help="What `faults learn` wrote for this unit.")] = None,
    lang: Annotated[str, typer.Option(help="Language of titles: en or zh.")] = "en",
) -> None:
    """Judge a trend by every rule of its equipment family and print the findings."""
    from cloud_api.faults import learning
    from cloud_api.faults import replay as engine
    from cloud_api.faults import trend as trends

    try:
        how = trends.load_map(map_file)
        data = trends.load_trend(trend, how)
        if healthy:
            fitted = learning.fit(data, [parse_day(text) for text in healthy])
            data = trends.with_constants(data, learning.as_constants(fitted))
        if model:
            data = learning.with_learned(data, learning.from_file(model))
        done = engine.replay(engine.rules_for(equipment, how), data)
    except (trends.TrendError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if as_json:
        print(json.dumps(_as_json(done, data, lang), ensure_ascii=False, indent=1))
        return
    for note in data.notes:
        print(f"note: {note}")
    titles = {r.id: r.spec.title for r in done.rules}
    explained = _explained(done)
    print(f"{'start':<17}{'end':<17}{'minutes':>8}{'kWh/day':>9}  {'rule':<11}{'severity':<12}finding")
    for f in done.findings:
        title = titles[f.rule].zh if lang == "zh" else titles[f.rule].en
        ends = "(open)" if f.is_open else ""
        cause = f"<- {explained[f.rule, f.start]}" if (f.rule, f.start) in explained else ""
        cost = f"{f.m3_per_day:.1f} m³" if f.m3_per_day is not None else ""
        cost = cost if f.kwh_per_day is None else f"{f.kwh_per_day:.1f}"
        print(
            f"{_local(f.start, data):<17}{_local(f.end, data):<17}{f.fault_minutes:>8.0f}{cost:>9}  {f.rule:<11}"
            f"{_SEVERITIES[f.severity]:<12}{' '.join(filter(None, (title, ends, cause)))}"
        )
    judged = len(done.rules) - len(done.missing)
    print(f"{len(done.findings)} findings of {judged} rules on {len(data.seconds)} ticks of {data.tick_s} s")
    if done.missing:
        print("not evaluated for want of roles:")
        for rule, roles in done.missing.items():
            print(f"  {rule:<11}{', '.join(roles)}")


@app.command()
def learn(
    trend: Annotated[Path, typer.Argument(help="CSV that holds the healthy days.")],
    healthy: Annotated[list[str], typer.Option(help="A day known to be healthy (2017-04-01); may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where to write the unit's model (YAML).")],
    map_file: _Map = Path("columns.yaml"),
    equipment: _Family = "ahu",
) -> None:
    """Fit the learned channel of one unit on healthy days; `replay --model` then finds what no fixed limit can."""
    import yaml

    from cloud_api.faults import learning
    from cloud_api.faults import trend as trends

    try:
        data = trends.load_trend(trend, trends.load_map(map_file))
        days = [parse_day(text) for text in healthy]
        fitted = learning.fit(data, days)
        learned = learning.fit_unit(equipment, data, learning.on_days(data, days))
    except (trends.TrendError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if not learned.constants and not learned.baselines:
        raise SystemExit("the healthy days hold less than an hour of any feature: name more days, or map more roles")
    for f in fitted:
        print(f"{f.name:<20}{f.expected:>9.3f} ± {f.band:.3f}  ({f.hours} h)")
    for b in learned.baselines:
        print(f"{b.kind:<20}{'':>9} ± {b.band:.3f}  ({b.hours:.0f} h, scatter {b.cv_rmse:.1%})")
    content = {"fitted_on": list(healthy)} | json.loads(json.dumps(learning.as_json(learned)))
    out.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


@app.command()
def score(
    trend: Annotated[Path, typer.Argument(help="CSV with one fault (or none) per day.")],
    labels: Annotated[Path, typer.Option(help="CSV with the columns date and fault_type ('none' when healthy).")],
    equipment: _Family = "ahu",
    map_file: _Map = Path("columns.yaml"),
    healthy: _Healthy = None,
) -> None:
    """Compare findings with labelled days: days found per fault type (95 % Wilson interval), false days, by channel."""
    from cloud_api.faults import scoring
    from cloud_api.faults import trend as trends

    try:
        days = [parse_day(text) for text in healthy or ()]
        print(scoring.report(equipment, trends.load_map(map_file), trend, labels, days))
    except (trends.TrendError, ValueError, KeyError, OSError) as error:
        raise SystemExit(str(error)) from error


@app.command("try")
def try_out(
    equipment: Annotated[str, typer.Argument(help="Code of the equipment, such as ahu-3.")],
    rule: Annotated[str, typer.Argument(help="The rule, such as AHU-0028.")],
    days: Annotated[int, typer.Option(min=1, max=31, help="Over how many of the last days.")] = 30,
    param: Annotated[list[str] | None, typer.Option(help="Another parameter: sensor_tolerance='3 K'.")] = None,
) -> None:
    """Say what a rule would have found on stored data, without switching it on."""
    from datetime import timedelta

    from cloud_api.faults import tryout

    changed: dict[str, str | float | bool] = {}
    for text in param or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise SystemExit(f"{text!r} is not name=value")
        changed[name.strip()] = value.strip()

    async def use_case(conn: Any, clock: Any) -> str:
        unit = await _unit_called(conn, equipment)
        end = clock.now()
        tried = await tryout.try_out(
            conn, equipment_id=unit.id, rule_id=rule, params=changed, start=end - timedelta(days=days), end=end
        )
        if tried.missing:
            return f"{rule} cannot be judged on {equipment}: it lacks {', '.join(tried.missing)}"
        lines = [
            f"{f.start.astimezone(unit.zone):%Y-%m-%d %H:%M}  {f.end.astimezone(unit.zone):%Y-%m-%d %H:%M}"
            f"  {f.fault_minutes:>6.0f} min  {_cost(f)}".rstrip()
            for f in tried.findings
        ]
        return "\n".join([*lines, f"{len(lines)} findings in {days} days; judged {tried.judged_share:.0%} of the time"])

    _say(use_case)


@app.command()
def teach(
    equipment: Annotated[str, typer.Argument(help="Code of the equipment, such as ahu-3.")],
    healthy: Annotated[
        list[str] | None,
        typer.Option(help="A day known to be healthy; without: the quiet ones of a fortnight."),
    ] = None,
) -> None:
    """Fit the learned channel of a live unit on its own stored healthy days; from then on it is judged by it."""
    from cloud_api.faults import history

    async def use_case(conn: Any, clock: Any) -> str:
        unit = await _unit_called(conn, equipment)
        days = [parse_day(text) for text in healthy] if healthy else None
        await history.learn(conn, equipment_id=unit.id, days=days, by="cli", now=clock.now())
        return _model_text(await history.model(conn, unit.id), unit)

    _say(use_case)


@app.command()
def learned(
    equipment: Annotated[
        str | None, typer.Argument(help="Code of the equipment; without: every unit that learned.")
    ] = None,
) -> None:
    """Show what units have learned to be normal: levels and bands, from which days, by whom, the false-alarm budget."""
    from cloud_api.faults import bindings, history

    async def use_case(conn: Any, clock: Any) -> str:
        assert clock
        units = [await _unit_called(conn, equipment)] if equipment else await bindings.bound_equipment(conn)
        found = [(unit, await history.model(conn, unit.id)) for unit in units]
        if equipment and found[0][1] is None:
            return f"{equipment} has learned nothing yet"
        shown = [_model_text(model, unit) for unit, model in found if model]
        return "\n\n".join(shown) or "no unit has learned anything yet"

    _say(use_case)


@app.command()
def forget(equipment: Annotated[str, typer.Argument(help="Code of the equipment, such as ahu-3.")]) -> None:
    """Give up what a unit has learned."""
    from cloud_api.faults import history

    async def use_case(conn: Any, clock: Any) -> str:
        assert clock
        done = await history.forget(conn, (await _unit_called(conn, equipment)).id)
        return "forgotten" if done else f"{equipment} had learned nothing"

    _say(use_case)


@app.command()
def problems() -> None:
    """Say which rules, bindings and settings were left out so that the rest can work, and why."""
    from cloud_api.faults import live

    async def use_case(conn: Any, clock: Any) -> str:
        assert clock
        return "\n".join(await live.problems(conn)) or "nothing was left out"

    _say(use_case)


@app.command("list")
def list_rules(
    equipment: Annotated[str | None, typer.Option("--equipment", help="Only this family.")] = None,
    as_json: _Json = False,
    lang: Annotated[str, typer.Option(help="Language of titles: en or zh.")] = "en",
) -> None:
    """List the rules with severity, delay and parameters."""
    from cloud_api.faults.catalogue import catalogue
    from cloud_api.faults.rules import RuleError

    try:
        rules = catalogue().family(equipment) if equipment else list(catalogue().rules.values())
    except RuleError as error:
        raise SystemExit(str(error)) from error
    if as_json:
        print(json.dumps([r.spec.model_dump() | {"family": r.family} for r in rules], ensure_ascii=False, indent=1))
        return
    for r in rules:
        title = r.spec.title.zh if lang == "zh" else r.spec.title.en
        params = ", ".join(f"{k}={v}" for k, v in r.spec.params.items())
        print(f"{r.id:<11}{_SEVERITIES[r.spec.severity]:<12}{title} [after {r.spec.delay}] {params}")
    print(f"{len(rules)} rules")


@app.command()
def roles(as_json: _Json = False) -> None:
    """List the roles that a column map may name, with their units."""
    from cloud_api.faults.rules import roles as all_roles

    if as_json:
        print(json.dumps({n: s.model_dump() for n, s in all_roles().items()}, ensure_ascii=False, indent=1))
        return
    for name, spec in all_roles().items():
        print(f"{name:<28}{spec.unit:<8}{spec.en} / {spec.zh}")


@app.command()
def check(
    map_file: Annotated[Path | None, typer.Option("--map", help="A column map to check.")] = None,
    equipment: _Family = "ahu",
) -> None:
    """Check every rule file, and a column map when given: which rules it can serve and what the others lack."""
    from cloud_api.faults import replay as engine
    from cloud_api.faults import trend as trends
    from cloud_api.faults.catalogue import catalogue
    from cloud_api.faults.rules import bind, role_aliases

    try:
        for problem in catalogue().problems:
            print(f"left out: {problem}")
        print(f"{len(catalogue().rules)} rules in {len(catalogue().families)} families are in order")
        if map_file is None:
            return
        how = trends.load_map(map_file)
        chosen = engine.rules_for(equipment, how)
    except (trends.TrendError, ValueError) as error:
        raise SystemExit(str(error)) from error
    available = frozenset(role_aliases()[n] for n in (*how.roles, *how.constants))
    for rule in chosen:
        lacking = bind(rule, available).missing
        print(f"{rule.id:<11}{'lacks ' + ', '.join(lacking) if lacking else 'ready'}")


async def _unit_called(conn: Any, code: str) -> Any:
    from cloud_api.faults import bindings

    found = [e for e in await bindings.bound_equipment(conn) if e.code == code]
    if not found:
        raise SystemExit(f"no equipment with rules has the code {code!r}")
    return found[0]


def _say(use_case: Any) -> None:
    from cloud_api.db.command import carry_out

    try:
        print(carry_out(use_case))
    except ValueError as error:
        raise SystemExit(str(error)) from error


def _model_text(model: Any, unit: Any) -> str:
    """Write down a unit's model: what is expected, from when, and how often it may err."""
    from cloud_api.faults.learning import FALSE_INCIDENTS_PER_DAY_MAX, from_json

    days, content = sorted(model["healthy_days"]), from_json(model["content"])
    when = f"{model['fitted_at'].astimezone(unit.zone):%Y-%m-%d %H:%M}"
    lines = [
        f"{unit.code}: learned from {len(days)} days, {days[0]} to {days[-1]}, by {model['fitted_by']} at {when}",
        f"  budget: at most {FALSE_INCIDENTS_PER_DAY_MAX} false incidents per equipment-day",
        *(f"  {name:<28}{value:>10.3f}" for name, value in content.constants.items()),
        *(
            f"  {b.kind:<28}{'':>10} ± {b.band:.3f}  ({b.hours:.0f} h, scatter {b.cv_rmse:.1%})"
            for b in content.baselines
        ),
    ]
    return "\n".join(lines)


def _cost(finding: Any) -> str:
    if finding.m3_per_day is not None:
        return f"{finding.m3_per_day} m³/day"
    return "" if finding.kwh_per_day is None else f"{finding.kwh_per_day} kWh/day"


def _as_json(done: Any, data: Any, lang: str) -> dict[str, Any]:
    specs = {r.id: r.spec for r in done.rules}
    explained = _explained(done)
    return {
        "tick_s": data.tick_s,
        "from": _iso(int(data.seconds[0]), data),
        "to": _iso(int(data.seconds[-1]) + data.tick_s, data),
        "notes": list(data.notes),
        "findings": [
            {
                "rule": f.rule,
                "severity": f.severity,
                "severity_name": _SEVERITIES[f.severity],
                "start": f.start.astimezone(data.zone).isoformat(),
                "end": f.end.astimezone(data.zone).isoformat(),
                "confirmed_at": f.confirmed_at.astimezone(data.zone).isoformat(),
                "is_open": f.is_open,
                "fault_minutes": f.fault_minutes,
                "title": specs[f.rule].title.zh if lang == "zh" else specs[f.rule].title.en,
                "reference": specs[f.rule].reference,
                "cluster": list(specs[f.rule].cluster),
                "waste_kwh": f.waste_kwh,
                "kwh_per_day": f.kwh_per_day,
                "waste_m3": f.waste_m3,
                "m3_per_day": f.m3_per_day,
                "impact": specs[f.rule].impact,
                "explained_by": explained.get((f.rule, f.start)),
                "evidence": f.evidence,
                "playbook": list(specs[f.rule].playbook.zh if lang == "zh" else specs[f.rule].playbook.en),
            }
            for f in done.findings
        ],
        "not_evaluated": {rule: list(lacking) for rule, lacking in done.missing.items()},
    }


def _explained(done: Any) -> dict[tuple[str, datetime], str]:
    from cloud_api.faults import causes

    found = causes.explain({"": done.findings}, {})
    return {(e.finding.rule, e.finding.start): e.cause[1] for e in found if e.cause}


def _iso(second: int, data: Any) -> str:
    return datetime.fromtimestamp(second, data.zone).isoformat()


def _local(instant: datetime, data: Any) -> str:
    return instant.astimezone(data.zone).strftime("%Y-%m-%d %H:%M")


def parse_day(text: str) -> date:
    """Read 2017-04-01; raises ValueError saying so."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date like 2017-04-01") from error
