"""The dictionary of edge and cloud: every quantity with its unit, Brick class, kind and plausible range.

Brick classes are those of Brick 1.4. A profile states a device's own unit (`device_unit`); what travels and is
stored is always the unit given here, so that two makers' meters can be added up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction


class PointKind(StrEnum):
    """What a point is for; the words are Brick's."""

    SENSOR = "sensor"
    SETPOINT = "setpoint"
    COMMAND = "command"
    STATUS = "status"
    ALARM = "alarm"
    PARAMETER = "parameter"  # A setting that rarely changes: a CT ratio, a unit code.
    ATTRIBUTE = "attribute"  # A text: serial number, model, firmware. Goes into the catalogue, never into a frame.


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One physical or logical quantity.

    `low` and `high` bound what is plausible anywhere in a building (in `unit`); a value outside is `uncertain`, never
    dropped. `states` maps the code that travels to its word; all profiles share it, whatever numbers their devices use.
    """

    name: str
    unit: str
    brick: str
    en: str
    zh: str
    kind: PointKind = PointKind.SENSOR
    low: float | None = None
    high: float | None = None
    is_cumulative: bool = False  # A counter: only differences mean something.
    is_billing: bool = False  # Bills are made from it: exact from the register to the ledger.
    rate: str = "normal"
    states: Mapping[int, str] = field(default_factory=dict)


# What one of the device's units is worth in the unit of the quantity. Exact ratios, never floats.
CONVERSIONS: Mapping[tuple[str, str], Fraction] = {
    ("kW", "W"): Fraction(1000),
    ("MW", "W"): Fraction(10**6),
    ("kvar", "var"): Fraction(1000),
    ("kVA", "VA"): Fraction(1000),
    ("kV", "V"): Fraction(1000),
    ("mV", "V"): Fraction(1, 1000),
    ("mA", "A"): Fraction(1, 1000),
    ("Wh", "kWh"): Fraction(1, 1000),
    ("MWh", "kWh"): Fraction(1000),
    ("GJ", "kWh"): Fraction(10**9, 3_600_000),
    ("MJ", "kWh"): Fraction(10**6, 3_600_000),
    ("varh", "kvarh"): Fraction(1, 1000),
    ("VAh", "kVAh"): Fraction(1, 1000),
    ("GJ/h", "W"): Fraction(10**9, 3600),
    ("l", "m³"): Fraction(1, 1000),
    ("l/h", "m³/h"): Fraction(1, 1000),
    ("l/s", "m³/h"): Fraction(3600, 1000),
    ("l/min", "m³/h"): Fraction(60, 1000),
    ("m³/s", "m³/h"): Fraction(3600),
    ("kPa", "Pa"): Fraction(1000),
    ("hPa", "Pa"): Fraction(100),
    ("bar", "Pa"): Fraction(100_000),
    ("s", "h"): Fraction(1, 3600),
    ("min", "h"): Fraction(1, 60),
    ("fraction", "%"): Fraction(100),
}

ON_OFF = {0: "off", 1: "on"}
ACTIVE = {0: "normal", 1: "active"}
OPEN = {0: "closed", 1: "open"}
HVAC_MODES = {0: "off", 1: "heat", 2: "cool", 3: "auto", 4: "dry", 5: "fan"}
FAN_SPEEDS = {0: "auto", 1: "low", 2: "medium", 3: "high", 4: "top", 5: "off", 6: "very_low"}

_, SP, CMD, ST, AL, PA, AT = PointKind


def _quantities() -> tuple[Quantity, ...]:
    def q(name: str, unit: str, brick: str, en: str, zh: str, **more: object) -> Quantity:
        return Quantity(name=name, unit=unit, brick=brick, en=en, zh=zh, **more)  # pyright: ignore[reportArgumentType]

    def counter(name: str, unit: str, brick: str, en: str, zh: str) -> Quantity:
        low = None if name.endswith("_net") else 0
        return q(name, unit, brick, en, zh, low=low, is_cumulative=True, is_billing=True)

    def air(name: str, brick: str, en: str, zh: str) -> Quantity:
        return q(name, "°C", brick, en, zh, low=-40, high=80)

    def water(name: str, brick: str, en: str, zh: str) -> Quantity:
        return q(name, "°C", brick, en, zh, low=-30, high=150)

    def setpoint(name: str, brick: str, en: str, zh: str) -> Quantity:
        return q(name, "°C", brick, en, zh, kind=SP, low=0, high=100)

    def alarm(name: str, brick: str, en: str, zh: str) -> Quantity:
        return q(name, "", brick, en, zh, kind=AL, rate="fast", states=ACTIVE)

    def text(name: str, en: str, zh: str) -> Quantity:
        return q(name, "", "Point", en, zh, kind=AT, rate="setup")

    return (
        # Electricity.
        q("voltage", "V", "Voltage_Sensor", "Voltage", "电压", low=0, high=50_000),
        q("voltage_ll", "V", "Voltage_Sensor", "Line voltage", "线电压", low=0, high=50_000),
        q("voltage_unbalance", "%", "Voltage_Imbalance_Sensor", "Voltage unbalance", "电压不平衡度", low=0, high=100),
        q("voltage_thd", "%", "Voltage_Sensor", "Voltage THD", "电压谐波畸变率", low=0, high=500, rate="slow"),
        q("current", "A", "Load_Current_Sensor", "Current", "电流", low=-20_000, high=20_000),
        q(
            "current_thd",
            "%",
            "Current_Total_Harmonic_Distortion",
            "Current THD",
            "电流谐波畸变率",
            low=0,
            high=1000,
            rate="slow",
        ),
        q("active_power", "W", "Active_Power_Sensor", "Active power", "有功功率", low=-5e7, high=5e7, rate="fast"),
        q("reactive_power", "var", "Reactive_Power_Sensor", "Reactive power", "无功功率", low=-5e7, high=5e7),
        q("apparent_power", "VA", "Electric_Power_Sensor", "Apparent power", "视在功率", low=-5e7, high=5e7),
        q("active_power_demand", "W", "Active_Power_Sensor", "Power demand", "需量", low=-5e7, high=5e7, rate="slow"),
        q(
            "apparent_power_demand",
            "VA",
            "Electric_Power_Sensor",
            "Apparent demand",
            "视在需量",
            low=-5e7,
            high=5e7,
            rate="slow",
        ),
        q("current_demand", "A", "Load_Current_Sensor", "Current demand", "电流需量", low=0, high=20_000, rate="slow"),
        q("power_factor", "", "Power_Factor_Sensor", "Power factor", "功率因数", low=-1, high=1),
        q(
            "power_factor_code",
            "",
            "Power_Factor_Sensor",
            "Power factor (quadrant code)",
            "功率因数（象限码）",
            low=-2,
            high=2,
        ),
        q("phase_angle", "°", "Current_Angle", "Phase angle", "相角", low=-360, high=360),
        q("frequency", "Hz", "Frequency_Sensor", "Frequency", "频率", low=40, high=70),
        counter("active_energy_import", "kWh", "Electric_Energy_Sensor", "Active energy", "有功电能"),
        counter("active_energy_export", "kWh", "Energy_Generation_Sensor", "Active energy, export", "反向有功电能"),
        counter(
            "active_energy_gross", "kWh", "Electric_Energy_Sensor", "Active energy, import + export", "组合有功电能"
        ),
        counter("active_energy_net", "kWh", "Electric_Energy_Sensor", "Active energy, import - export", "净有功电能"),
        counter("reactive_energy_import", "kvarh", "Reactive_Energy_Sensor", "Reactive energy", "无功电能"),
        counter("reactive_energy_export", "kvarh", "Reactive_Energy_Sensor", "Reactive energy, export", "反向无功电能"),
        counter("reactive_energy_gross", "kvarh", "Reactive_Energy_Sensor", "Reactive energy, total", "组合无功电能"),
        counter("reactive_energy_net", "kvarh", "Reactive_Energy_Sensor", "Reactive energy, net", "净无功电能"),
        counter("apparent_energy", "kVAh", "Electric_Energy_Sensor", "Apparent energy", "视在电能"),
        counter("apparent_energy_export", "kVAh", "Electric_Energy_Sensor", "Apparent energy, export", "反向视在电能"),
        q("phase_sequence", "", "Status", "Phase sequence", "相序", kind=ST, rate="slow"),
        q(
            "ct_ratio",
            "",
            "Current_Ratio_Setpoint",
            "CT ratio",
            "电流互感器变比",
            kind=PA,
            low=0,
            high=100_000,
            rate="setup",
        ),
        q(
            "pt_ratio",
            "",
            "Voltage_Ratio_Setpoint",
            "PT ratio",
            "电压互感器变比",
            kind=PA,
            low=0,
            high=100_000,
            rate="setup",
        ),
        q("tariff_active", "", "Status", "Active tariff", "当前费率", kind=ST),
        # Heat, water, gas, pulses.
        counter("heat_energy", "kWh", "Thermal_Energy_Usage_Sensor", "Heat energy", "热量"),
        counter("cooling_energy", "kWh", "Thermal_Energy_Usage_Sensor", "Cooling energy", "冷量"),
        q("thermal_power", "W", "Thermal_Power_Sensor", "Thermal power", "热功率", low=-5e7, high=5e7, rate="fast"),
        counter("water_volume", "m³", "Water_Usage_Sensor", "Water volume", "用水量"),
        q("water_flow", "m³/h", "Water_Flow_Sensor", "Water flow", "水流量", low=-10_000, high=10_000),
        q("flow_velocity", "m/s", "Flow_Sensor", "Flow velocity", "流速", low=-30, high=30),
        counter("gas_volume", "m³", "Natural_Gas_Usage_Sensor", "Gas volume", "燃气量"),
        counter("pulse_count", "", "Usage_Sensor", "Pulse count", "脉冲计数"),
        q("exponent", "", "Parameter", "Exponent", "指数", kind=PA, rate="setup"),
        q("unit_code", "", "Parameter", "Unit code", "单位码", kind=PA, rate="setup"),
        # Seconds since 1970 by the device's own clock, wall time read as UTC.
        q("reading_time", "s", "Time_Parameter", "Time of the reading", "读数时间", low=0, high=5e9),
        # Air and rooms.
        air("room_temperature", "Zone_Air_Temperature_Sensor", "Room temperature", "室内温度"),
        air("outdoor_temperature", "Outside_Air_Temperature_Sensor", "Outdoor temperature", "室外温度"),
        air("supply_air_temperature", "Supply_Air_Temperature_Sensor", "Supply air temperature", "送风温度"),
        air("return_air_temperature", "Return_Air_Temperature_Sensor", "Return air temperature", "回风温度"),
        air("mixed_air_temperature", "Mixed_Air_Temperature_Sensor", "Mixed air temperature", "混风温度"),
        air("exhaust_air_temperature", "Exhaust_Air_Temperature_Sensor", "Exhaust air temperature", "排风温度"),
        q("humidity", "%", "Relative_Humidity_Sensor", "Relative humidity", "相对湿度", low=0, high=100),
        q("co2", "ppm", "CO2_Level_Sensor", "CO₂", "二氧化碳浓度", low=0, high=10_000),
        q("tvoc", "µg/m³", "TVOC_Level_Sensor", "TVOC", "总挥发性有机物", low=0, high=100_000),
        q("tvoc_index", "", "TVOC_Level_Sensor", "TVOC index", "TVOC 指数", low=0, high=1000),
        q("pm2_5", "µg/m³", "PM2.5_Level_Sensor", "PM2.5", "PM2.5", low=0, high=5000),
        q("pm10", "µg/m³", "PM10_Level_Sensor", "PM10", "PM10", low=0, high=5000),
        q("air_pressure", "Pa", "Air_Pressure_Sensor", "Air pressure", "气压", low=30_000, high=120_000),
        q("illuminance", "lx", "Illuminance_Sensor", "Illuminance", "照度", low=0, high=200_000),
        q("light_level", "", "Illuminance_Sensor", "Light level", "光照等级", low=0, high=10),
        q("air_quality", "%", "Air_Quality_Sensor", "Air quality", "空气质量", low=0, high=100),
        # Water side of plant.
        water("supply_water_temperature", "Leaving_Water_Temperature_Sensor", "Supply water temperature", "供水温度"),
        water("return_water_temperature", "Entering_Water_Temperature_Sensor", "Return water temperature", "回水温度"),
        water(
            "chilled_water_supply_temperature",
            "Leaving_Chilled_Water_Temperature_Sensor",
            "Chilled water supply temperature",
            "冷冻水供水温度",
        ),
        water(
            "chilled_water_return_temperature",
            "Entering_Chilled_Water_Temperature_Sensor",
            "Chilled water return temperature",
            "冷冻水回水温度",
        ),
        water(
            "condenser_water_supply_temperature",
            "Entering_Condenser_Water_Temperature_Sensor",
            "Condenser water entering temperature",
            "冷却水进水温度",
        ),
        water(
            "condenser_water_return_temperature",
            "Leaving_Condenser_Water_Temperature_Sensor",
            "Condenser water leaving temperature",
            "冷却水出水温度",
        ),
        q(
            "water_temperature_difference",
            "K",
            "Water_Differential_Temperature_Sensor",
            "Water temperature difference",
            "供回水温差",
            low=-100,
            high=150,
        ),
        q("temperature", "°C", "Temperature_Sensor", "Temperature", "温度", low=-50, high=200),
        q(
            "equipment_temperature",
            "°C",
            "Heat_Sink_Temperature_Sensor",
            "Equipment temperature",
            "设备温度",
            low=-50,
            high=200,
            rate="slow",
        ),
        # Air handling and fan coils.
        setpoint("room_temperature_setpoint", "Zone_Air_Temperature_Setpoint", "Room set point", "室温设定"),
        setpoint(
            "supply_air_temperature_setpoint", "Supply_Air_Temperature_Setpoint", "Supply air set point", "送风温度设定"
        ),
        setpoint(
            "chilled_water_temperature_setpoint",
            "Leaving_Chilled_Water_Temperature_Setpoint",
            "Chilled water set point",
            "冷冻水温度设定",
        ),
        q(
            "temperature_setpoint",
            "°C",
            "Temperature_Setpoint",
            "Temperature set point",
            "温度设定",
            kind=SP,
            low=-50,
            high=200,
        ),
        q("co2_setpoint", "ppm", "CO2_Setpoint", "CO₂ set point", "二氧化碳设定", kind=SP, low=0, high=5000),
        q(
            "static_pressure",
            "Pa",
            "Supply_Air_Static_Pressure_Sensor",
            "Static pressure",
            "静压",
            low=-5000,
            high=5000,
        ),
        q(
            "static_pressure_setpoint",
            "Pa",
            "Supply_Air_Static_Pressure_Setpoint",
            "Static pressure set point",
            "静压设定",
            kind=SP,
            low=-5000,
            high=5000,
        ),
        q(
            "filter_differential_pressure",
            "Pa",
            "Filter_Differential_Pressure_Sensor",
            "Filter pressure drop",
            "过滤器压差",
            low=-500,
            high=5000,
        ),
        q("water_pressure", "Pa", "Water_Pressure_Sensor", "Water pressure", "水压", low=-1e5, high=5e6),
        q("air_flow", "m³/h", "Supply_Air_Flow_Sensor", "Supply air flow", "送风量", low=0, high=1e6),
        q("exhaust_air_flow", "m³/h", "Exhaust_Air_Flow_Sensor", "Exhaust air flow", "排风量", low=0, high=1e6),
        q("fan_output", "%", "Fan_Speed_Command", "Fan output", "风机输出", low=0, high=100),
        q("valve_position", "%", "Valve_Position_Sensor", "Valve position", "阀位", low=0, high=100),
        q("valve_command", "%", "Valve_Position_Command", "Valve command", "阀门指令", kind=CMD, low=0, high=100),
        q("damper_position", "%", "Damper_Position_Sensor", "Damper position", "风阀开度", low=0, high=100),
        q("damper_command", "%", "Damper_Position_Command", "Damper command", "风阀指令", kind=CMD, low=0, high=100),
        q("heating_output", "%", "Heating_Command", "Heating output", "加热输出", low=0, high=100),
        q("cooling_output", "%", "Cooling_Command", "Cooling output", "制冷输出", low=0, high=100),
        q("load", "%", "Status", "Load", "负荷率", low=0, high=150),
        q("relative_flow", "%", "Flow_Sensor", "Relative flow", "相对流量", low=0, high=200),
        q("hvac_mode", "", "Zone_Air_Conditioning_Mode_Status", "Mode", "运行模式", kind=ST, states=HVAC_MODES),
        q("fan_speed", "", "Fan_Speed_Command", "Fan speed", "风速", kind=ST, states=FAN_SPEEDS),
        q("on_off", "", "On_Off_Status", "On/off", "开关状态", kind=ST, rate="fast", states=ON_OFF),
        q("on_off_command", "", "On_Off_Command", "On/off command", "开关指令", kind=CMD, rate="fast", states=ON_OFF),
        q("fan_on_off", "", "Fan_On_Off_Status", "Fan on/off", "风机状态", kind=ST, rate="fast", states=ON_OFF),
        q("pump_on_off", "", "Pump_On_Off_Status", "Pump on/off", "水泵状态", kind=ST, rate="fast", states=ON_OFF),
        q(
            "compressor_on_off",
            "",
            "On_Off_Status",
            "Compressor on/off",
            "压缩机状态",
            kind=ST,
            rate="fast",
            states=ON_OFF,
        ),
        q("defrost", "", "On_Off_Status", "Defrost", "除霜", kind=ST, states=ON_OFF),
        q("heating_on_off", "", "Heating_Mode_Status", "Heating", "加热状态", kind=ST, states=ON_OFF),
        q("cooling_on_off", "", "Cooling_Mode_Status", "Cooling", "制冷状态", kind=ST, states=ON_OFF),
        q(
            "communication_ok",
            "",
            "Communication_Loss_Alarm",
            "Communication",
            "通讯状态",
            kind=ST,
            states={0: "lost", 1: "ok"},
        ),
        q("lock", "", "Lockout_Status", "Keypad lock", "键盘锁", kind=ST, rate="slow"),
        alarm("alarm", "Alarm", "Alarm", "报警"),
        alarm("filter_alarm", "Change_Filter_Alarm", "Filter alarm", "过滤器报警"),
        alarm("fire_alarm", "Fire_Alarm", "Fire alarm", "火警"),
        alarm("smoke_alarm", "Smoke_Alarm", "Smoke alarm", "烟感报警"),
        alarm("leak_alarm", "Leak_Alarm", "Leak alarm", "漏水报警"),
        q("fault_code", "", "Fault_Status", "Fault code", "故障码", kind=ST, rate="fast"),
        q("status_code", "", "Status", "Status code", "状态码", kind=ST),
        q("operating_hours", "h", "Run_Time_Sensor", "Operating hours", "运行小时", low=0, high=1e6, rate="slow"),
        q("start_count", "", "Status", "Starts", "启动次数", low=0, high=1e9, rate="slow"),
        q("rotation_speed", "1/min", "Speed_Sensor", "Speed", "转速", low=0, high=100_000),
        q("output_frequency", "Hz", "Output_Frequency_Sensor", "Output frequency", "输出频率", low=-400, high=400),
        q("motor_current", "A", "Motor_Current_Sensor", "Motor current", "电机电流", low=0, high=5000),
        q("motor_voltage", "V", "Output_Voltage_Sensor", "Motor voltage", "电机电压", low=0, high=2000),
        q("dc_link_voltage", "V", "DC_Bus_Voltage_Sensor", "DC link voltage", "直流母线电压", low=0, high=2000),
        # People, doors, batteries.
        q("people_count", "", "Occupancy_Count_Sensor", "People", "人数", low=0, high=100_000),
        q("people_in", "", "Occupancy_Count_Sensor", "People in", "进入人数", is_cumulative=True),
        q("people_out", "", "Occupancy_Count_Sensor", "People out", "离开人数", is_cumulative=True),
        q(
            "occupancy",
            "",
            "Occupancy_Status",
            "Occupied",
            "有人",
            kind=ST,
            rate="fast",
            states={0: "vacant", 1: "occupied"},
        ),
        q("door_state", "", "Open_Close_Status", "Door", "门状态", kind=ST, rate="fast", states=OPEN),
        q("window_state", "", "Open_Close_Status", "Window", "窗状态", kind=ST, rate="fast", states=OPEN),
        q(
            "lock_state",
            "",
            "Lockout_Status",
            "Lock",
            "锁状态",
            kind=ST,
            rate="fast",
            states={0: "locked", 1: "unlocked"},
        ),
        q("badge_sequence", "", "Status", "Badge sequence number", "刷卡序号", kind=ST, rate="fast"),
        q("digital_input", "", "On_Off_Status", "Digital input", "数字输入", kind=ST, rate="fast", states=ON_OFF),
        q("battery", "%", "Sensor", "Battery", "电量", low=0, high=100, rate="slow"),
        q(
            "battery_voltage",
            "V",
            "Battery_Voltage_Sensor",
            "Battery voltage",
            "电池电压",
            low=0,
            high=100,
            rate="slow",
        ),
        q("signal_strength", "dBm", "Sensor", "Signal strength", "信号强度", low=-150, high=20, rate="slow"),
        q("link_quality", "", "Sensor", "Link quality", "链路质量", low=0, high=255, rate="slow"),
        # Texts.
        text("serial_number", "Serial number", "序列号"),
        text("model", "Model", "型号"),
        text("manufacturer", "Manufacturer", "制造商"),
        text("firmware", "Firmware", "固件版本"),
        text("credential", "Credential", "凭证"),
        text("text", "Text", "文本"),
        # Numbers that identify a device.
        q("identification_code", "", "Parameter", "Identification code", "识别码", kind=PA, rate="setup"),
    )


QUANTITIES: Mapping[str, Quantity] = {quantity.name: quantity for quantity in _quantities()}


def quantity_of(point_name: str) -> Quantity | None:
    """Return the quantity a point name begins with: `active_power_l1` is an `active_power`; None when there is none."""
    parts = point_name.split("_")
    for end in range(len(parts), 0, -1):
        found = QUANTITIES.get("_".join(parts[:end]))
        if found is not None:
            return found
    return None


def conversion(device_unit: str, unit: str) -> Fraction | None:
    """Return what one `device_unit` is worth in `unit`, exactly; None when they do not measure the same."""
    return Fraction(1) if device_unit == unit else CONVERSIONS.get((device_unit, unit))
