"""`edge-agent check`, offline."""

import math
from pathlib import Path

import typer

from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile
from edge_agent.commands.language import language
from edge_agent.commands.problems import show_problems
from edge_agent.commissioned import Commissioned, load_commissioned
from edge_agent.commissioning.budget import Budget, bus_budget

WORDS = {
    "en": {
        "sound": "sound: {buses} buses, {brokers} brokers, {devices} devices",
        "bus": "{bus} ({endpoint}): {devices} devices, {after} requests instead of {before}, "
        "{cycle:.1f} s per cycle, asked {asked:g} s, busy {busy:.0%}; quarter hour {billing:.1f} s",
        "too_slow": "cannot carry it: it needs {cycle:.1f} s per cycle, you asked for {asked:g} s",
        "tight": "has no reserve: one lost answer makes it late",
        "period": "  → read every {period:g} s (poll_s), or",
        "never": "  → no poll_s is slow enough: split the bus, or",
        "slow": "  → slow {count} points of {profile} to 60 s (points: … poll_s), saves {share:.0%} of the bus",
    },
    "zh": {
        "sound": "正确：{buses} 条总线，{brokers} 个消息代理，{devices} 台设备",
        "bus": "{bus}（{endpoint}）：{devices} 台设备，{after} 次请求（合并前 {before} 次），"
        "每轮 {cycle:.1f} 秒，要求 {asked:g} 秒，占用 {busy:.0%}；整刻抄表 {billing:.1f} 秒",
        "too_slow": "无法承担：每轮需要 {cycle:.1f} 秒，您要求 {asked:g} 秒",
        "tight": "没有余量：丢失一次应答就会迟到",
        "period": "  → 改为每 {period:g} 秒读取一次（poll_s），或",
        "never": "  → 任何 poll_s 都不够：请拆分总线，或",
        "slow": "  → 把 {profile} 的 {count} 个点放慢到 60 秒（points: … poll_s），可节省总线 {share:.0%}",
    },
}


def check_site(path: Path, lang: str) -> int:
    """Print every mistake, or the budget of each bus; returns 0, 1 for mistakes, 3 for a bus that cannot keep up."""
    tongue = language(lang)
    words = WORDS[tongue]
    try:
        commissioned = load_commissioned(path)
    except ProfileError as error:
        show_problems(error, tongue)
        return 1
    site = commissioned.site
    devices = sum(len(bus.devices) for bus in site.buses) + sum(len(broker.devices) for broker in site.mqtt)
    sound = words["sound"].format(buses=len(site.buses), brokers=len(site.mqtt), devices=devices)
    typer.echo(f"{path}: {sound}")
    budgets = _budgets(commissioned)
    for budget in budgets:
        for line in budget_lines(budget, words):
            typer.echo(line)
    return 0 if all(budget.utilisation <= 1 for budget in budgets) else 3


def budget_lines(budget: Budget, words: dict[str, str]) -> list[str]:
    """Say how busy a bus will be and, when that is too much, what to slow."""
    before, after = budget.requests_per_cycle
    lines = [
        words["bus"].format(
            bus=budget.bus,
            endpoint=budget.endpoint,
            devices=len({cost.device for cost in budget.costs}),
            before=before,
            after=after,
            cycle=budget.cycle_s,
            asked=budget.asked_s,
            busy=budget.utilisation,
            billing=budget.billing_s,
        )
    ]
    if budget.fits:
        return lines
    trouble = "too_slow" if budget.utilisation > 1 else "tight"
    lines.append(f"  {words[trouble].format(cycle=budget.cycle_s, asked=budget.asked_s)}")
    period = budget.period_that_fits_s
    lines.append(words["never"] if math.isinf(period) else words["period"].format(period=math.ceil(period)))
    lines += [
        words["slow"].format(profile=name, count=points, share=share) for name, points, share in budget.slower[:3]
    ]
    return lines


def _budgets(commissioned: Commissioned) -> list[Budget]:
    profiles = {name: profile for name, profile in commissioned.profiles.items() if isinstance(profile, ModbusProfile)}
    return [bus_budget(bus, profiles) for bus in commissioned.site.buses]
