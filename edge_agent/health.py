"""What the agent says about itself: the heartbeat, and a read-only page on this machine."""

import asyncio
import html
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

from device_profiles.wording import say
from edge_agent.drivers.modbus.client import LineStats
from edge_agent.poller import BusPoller

if TYPE_CHECKING:
    from edge_agent.agent import Agent

REQUEST_BYTES_MAX = 8_192
REQUEST_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 20


def heartbeat(agent: "Agent") -> dict[str, Any]:
    """Return the agent's part of the heartbeat (ARCHITECTURE.md, section 9)."""
    return {
        "configuration": _configuration(agent),
        "agent": {"started_at_ms": agent.started_at_ms, "site_problems": agent.site_problems[:20]},
        "devices": [
            *(device_state(device) for poller in agent.pollers.values() for device in poller.devices),
            *(state for subscriber in agent.subscribers.values() for state in subscriber.states()),
        ],
        "buses": [bus_report(poller, agent.clock.monotonic()) for poller in agent.pollers.values()],
    }


def _configuration(agent: "Agent") -> dict[str, Any]:
    report = agent.configuration.report()
    return {**report, "problems": [*report["problems"], *agent.site_notes]}


def device_state(device: Any) -> dict[str, Any]:
    """One device as the heartbeat tells it."""
    return {
        "name": device.config.name,
        "state": device.state.value,
        "since_ms": device.state_since_ms,
        "last_error": device.error,
    }


def bus_report(poller: BusPoller, now: float) -> dict[str, Any]:
    """Counters of one bus; `utilisation` is the share of time spent waiting for answers."""
    stats: LineStats = poller.line.stats
    elapsed = max(now - poller.started_at, 0.001)
    return {
        "name": poller.line.bus.name,
        "endpoint": poller.line.bus.endpoint,
        "connected": poller.line.is_connected,
        "utilisation": round(stats.busy_s / elapsed, 4),
        "requests": stats.requests,
        "timeouts": stats.timeouts,
        "bad_answers": stats.bad_answers,
        "exceptions": stats.exceptions,
        "failed_connects": stats.failed_connects,
        "missed_cycles": poller.missed_cycles,
        "lateness_p99_ms": _p99_ms(poller.lateness_s),
        "last_error": stats.last_error,
    }


def _p99_ms(seconds: Iterable[float]) -> int:
    ordered = sorted(seconds)
    return round(1000 * ordered[len(ordered) * 99 // 100]) if ordered else 0


def report(agent: "Agent") -> dict[str, Any]:
    """Everything the status page shows, as data (`/status.json`)."""
    devices = [
        {
            **device_state(device),
            "bus": poller.line.bus.name,
            "unit": device.config.unit,
            "profile": device.profile.name,
            "answers": device.stats.answers,
            "failures": device.stats.failures,
            "invalid_values": device.stats.invalid_values,
            "lost_badges": device.stats.lost_badges,
            "unreadable": device.unreadable(),
        }
        for poller in agent.pollers.values()
        for device in poller.devices
    ]
    now = agent.clock.monotonic()
    return {
        "gateway": agent.commissioned.site.gateway,
        "now_ms": agent.clock.now_ms(),
        "started_at_ms": agent.started_at_ms,
        "site_file": str(agent.configuration.path),
        "configuration": _configuration(agent),
        "site_problems": [*agent.site_problems, *agent.site_notes],
        "lateness_p99_ms": _p99_ms(late for poller in agent.pollers.values() for late in poller.lateness_s),
        "buses": [bus_report(poller, now) for poller in agent.pollers.values()],
        "brokers": [subscriber.report() for subscriber in agent.subscribers.values()],
        "devices": [*devices, *_mqtt_devices(agent)],
        "outbox": agent.outbox.report(),
        "link": None if agent.uplink is None else agent.uplink.status,
    }


def _mqtt_devices(agent: "Agent") -> list[dict[str, Any]]:
    """Bring the devices behind brokers into the columns of the page."""
    rows: list[dict[str, Any]] = []
    for name, subscriber in agent.subscribers.items():
        counted = {entry["name"]: entry for entry in subscriber.report()["devices"]}
        for state in subscriber.states():
            profile = agent.commissioned.profiles.get(state["name"])
            rows.append(
                {
                    **state,
                    "bus": name,
                    "unit": "",
                    "profile": profile.name if profile else "",
                    "answers": counted[state["name"]]["messages"],
                    "failures": sum(counted[state["name"]]["problems"].values()),
                    "invalid_values": 0,
                    "unreadable": [],
                }
            )
    return rows


WORDS = {
    "en": {
        "title": "Gateway", "buses": "Buses", "devices": "Devices", "outbox": "Outbox", "link": "Link to the cloud",
        "name": "Name", "endpoint": "Address", "utilisation": "Busy", "requests": "Requests", "timeouts": "No answer",
        "bad_answers": "Bad answers", "exceptions": "Exceptions", "missed_cycles": "Missed", "lateness": "Late (p99)",
        "last_error": "Last error", "state": "State", "bus": "Bus", "unit": "Unit", "profile": "Profile",
        "answers": "Answers", "failures": "Failures", "invalid": "Invalid values", "unreadable": "Not served",
        "online": "online", "offline": "offline", "unknown": "unknown", "none": "none", "problems": "Site file refused",
        "other": "中文", "since": "Values and states of this machine only; nothing can be changed here.",
        "brokers": "Brokers", "connected": "Connected", "counters": "Counters", "yes": "yes", "no": "no",
    },
    "zh": {
        "title": "网关", "buses": "总线", "devices": "设备", "outbox": "发件箱", "link": "云端连接",
        "name": "名称", "endpoint": "地址", "utilisation": "占用率", "requests": "请求", "timeouts": "无应答",
        "bad_answers": "错误应答", "exceptions": "异常码", "missed_cycles": "错过周期", "lateness": "延迟（p99）",
        "last_error": "最近错误", "state": "状态", "bus": "总线", "unit": "站号", "profile": "设备模板",
        "answers": "应答", "failures": "失败", "invalid": "无效值", "unreadable": "不支持的点",
        "online": "在线", "offline": "离线", "unknown": "未知", "none": "无", "problems": "站点文件被拒绝",
        "other": "English", "since": "仅显示本机数据与状态，此页不能修改任何内容。",
        "brokers": "消息代理", "connected": "已连接", "counters": "计数", "yes": "是", "no": "否",
    },
}  # fmt: skip


def page(data: dict[str, Any], language: str) -> str:
    """Render the status page as HTML, in `zh` or `en`."""
    words = WORDS[language]
    other = "en" if language == "zh" else "zh"
    problems = "".join(f"<li>{_text(say(problem, language))}</li>" for problem in data["site_problems"])
    bus_keys = ("requests", "timeouts", "bad_answers", "exceptions", "missed_cycles")
    buses = [
        [
            bus["name"],
            bus["endpoint"],
            f"{bus['utilisation']:.1%}",
            *(bus[key] for key in bus_keys),
            f"{bus['lateness_p99_ms']} ms",
            say(bus["last_error"] or "", language),
        ]
        for bus in data["buses"]
    ]
    devices = [
        [
            words[device["state"]],
            device["name"],
            device["bus"],
            device["unit"],
            device["profile"],
            device["answers"],
            device["failures"],
            device["invalid_values"],
            ", ".join(device["unreadable"]),
            say(device["last_error"] or "", language),
        ]
        for device in sorted(data["devices"], key=lambda device: (device["state"] == "online", device["name"]))
    ]
    bus_heads = ("name", "endpoint", "utilisation", *bus_keys, "lateness", "last_error")
    device_heads = ("state", "name", "bus", "unit", "profile", "answers", "failures", "invalid", "unreadable")
    link = orjson.loads(orjson.dumps(data["link"])) or {words["link"]: words["none"]}
    return files("edge_agent").joinpath("status.html").read_text(encoding="utf-8").format(
        language="zh-CN" if language == "zh" else "en",
        title=_text(f"{words['title']} {data['gateway']}"),
        other=f'<a href="/?lang={other}" lang="{other}">{words["other"]}</a>',
        note=words["since"],
        problems=f'<section role="alert"><h2>{words["problems"]}</h2><ul>{problems}</ul></section>' if problems else "",
        devices=_table(words["devices"], [words[key] for key in (*device_heads, "last_error")], devices),
        brokers="" if not data["brokers"] else _table(
            words["brokers"],
            [words[key] for key in ("name", "endpoint", "connected", "counters", "last_error")],
            [
                [
                    broker["name"],
                    broker["address"],
                    words["yes" if broker["is_connected"] else "no"],
                    ", ".join(f"{key} {count}" for key, count in broker["counters"].items()),
                    broker["last_error"],
                ]
                for broker in data["brokers"]
            ],
        ),
        buses=_table(words["buses"], [words[key] for key in bus_heads], buses),
        outbox=_table(words["outbox"], [], _pairs(data["outbox"], language)),
        link=_table(words["link"], [], _pairs(link, language)),
    )  # fmt: skip


def _table(caption: str, heads: list[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f'<th scope="col">{_text(text)}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<section><h2>{_text(caption)}</h2>{table}</section>"


def _pairs(data: dict[str, Any], language: str) -> list[list[str]]:
    """Bring counters and states into words; what has nothing to say is left out."""
    column = 1 if language == "zh" else 0
    return [
        [FIELDS[key][column] if key in FIELDS else key, _shown(key, value, language)]
        for key, value in data.items()
        if value is not None
    ]


def _shown(key: str, value: Any, language: str) -> str:
    column = 1 if language == "zh" else 0
    if isinstance(value, dict):
        parts = [(FIELDS[name][column] if name in FIELDS else name, count) for name, count in value.items()]
        return " · ".join(f"{name} {count}" for name, count in parts)
    if key.endswith("_at_ms"):
        return f"{datetime.fromtimestamp(value / 1000).astimezone():%Y-%m-%d %H:%M:%S %z}"
    if "bytes" in key:
        return f"{value / 1024**2:.1f} MB"
    text = str(value)
    return FIELDS[text][column] if text in FIELDS else say(text, language)


# What the outbox and the link report, in English and Chinese.
FIELDS = {
    "stream": ("Stream", "数据流"), "waiting": ("Waiting", "等待中"), "buffered": ("Not yet on the disk", "尚未写盘"),
    "used_bytes": ("Used", "已用"), "bytes_max": ("At most", "上限"), "oldest_stored_at_ms": ("Oldest", "最早一条"),
    "appended": ("Taken", "已接收"), "settled": ("Accepted by the cloud", "云端已接受"),
    "rejected": ("Rejected by the cloud", "云端已拒绝"), "retried": ("To be sent again", "待重发"),
    "malformed": ("Malformed", "格式错误"), "dropped": ("Dropped, no room", "因空间不足丢弃"),
    "damaged_chunks": ("Damaged rows", "损坏的记录"), "last_error": ("Last error", "最近错误"),
    "repair": ("Repaired", "修复"), "telemetry": ("telemetry", "遥测"), "event": ("events", "事件"),
    "billing": ("billing registers", "计费读数"), "state": ("State", "状态"), "starting": ("starting", "启动中"),
    "connected": ("connected", "已连接"), "refused": ("refused", "被拒绝"), "batches": ("Messages", "消息数"),
    "last_success_at_ms": ("Last success", "最近成功"), "observations": ("Observations sent", "已发送观测"),
    "failures": ("Failed attempts", "失败次数"),
    "bytes_sent": ("Sent", "已发送"), "refused_messages": ("Messages refused", "被拒消息"),
    "last_refusal": ("Last refusal", "最近拒绝"), "clock_offset_ms": ("Clock offset (ms)", "时钟偏差（毫秒）"),
    "backlog_observations_max": ("Largest backlog message", "积压消息上限"),
}  # fmt: skip


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value))


async def serve(agent: "Agent") -> None:
    """Serve the page until cancelled; reading only, on the loopback address unless told otherwise."""
    gate = asyncio.Semaphore(CONNECTIONS_MAX)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with gate:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_respond(agent, head))
                    await writer.drain()
            except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

    settings = agent.settings
    server = await asyncio.start_server(answer, settings.status_host, settings.status_port, limit=REQUEST_BYTES_MAX)
    async with server:
        await server.serve_forever()


def _respond(agent: "Agent", head: bytes) -> bytes:
    parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(parts) != 3 or parts[0] not in {"GET", "HEAD"}:
        return _response("405 Method Not Allowed", "text/plain", b"reading only\n", parts[0])
    path, _, query = parts[1].partition("?")
    if path == "/status.json":
        return _response("200 OK", "application/json", orjson.dumps(report(agent), default=str), parts[0])
    if path != "/":
        return _response("404 Not Found", "text/plain", b"not found\n", parts[0])
    asked = "zh" if "lang=zh" in query else "en" if "lang=en" in query else _preferred(head)
    return _response("200 OK", "text/html", page(report(agent), asked).encode(), parts[0])


def _preferred(head: bytes) -> str:
    """Choose the reader's language by what the browser names first; Chinese without a word."""
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "accept-language":
            return "zh" if value.strip().lower().startswith("zh") else "en"
    return "zh"


def _response(status: str, kind: str, body: bytes, method: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
