"""The words of the dashboards, in both languages."""

from typing import Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")

_TEXTS: dict[str, tuple[str, str]] = {
    "overview": ("楼宇总览", "Building overview"),
    "energy": ("能耗与计量", "Energy and meters"),
    "health": ("网关与设备", "Gateways and devices"),
    "alarms": ("报警", "Alarms"),
    "site": ("园区", "Site"),
    "power_now": ("当前功率", "Power now"),
    "energy_today": ("今日用电", "Energy today"),
    "share_of_contract": ("合同需量占比", "Share of contract demand"),
    "outdoor": ("室外温度", "Outdoor temperature"),
    "open_alarms": ("未恢复报警", "Open alarms"),
    "silent_devices": ("离线设备", "Silent devices"),
    "power_course": ("总功率", "Building power"),
    "floor_power": ("各楼层功率", "Power by floor"),
    "tenant_power": ("各租户今日用电", "Tenants' energy today"),
    "co2": ("房间二氧化碳", "CO₂ by room"),
    "temperature": ("房间温度", "Temperature by room"),
    "air_now": ("当前空气质量（ppm）", "Air now (ppm)"),
    "day_energy": ("每日用电", "Energy by day"),
    "tenant_day_energy": ("各租户每日用电", "Tenants' energy by day"),
    "meter_energy": ("各表用电（所选时段）", "Energy by meter (period shown)"),
    "balance": ("总表与楼层表之差", "Main meter minus the meters below it"),
    "quality": ("计量质量（所选时段）", "Quality of intervals (period shown)"),
    "doubtful": ("存疑区间", "Doubtful intervals"),
    "gateways": ("网关", "Gateways"),
    "states": ("设备状态", "Device states"),
    "silent_list": ("无应答的设备", "Devices that do not answer"),
    "stale_points": ("最久未更新的测点", "Points that were silent longest"),
    "alarm_list": ("未恢复或未确认的报警", "Alarms that are active or not acknowledged"),
    "alarms_per_day": ("每日报警数", "Alarms per day"),
    "alarm_subjects": ("报警最多的对象", "What alarms most often"),
    "time_to_ack": ("确认用时（中位数）", "Time to acknowledge (median)"),
}


def text(key: str, language: Language) -> str:
    """Return one text; an unknown key is an error, not an empty title."""
    zh, en = _TEXTS[key]
    return zh if language == "zh" else en
