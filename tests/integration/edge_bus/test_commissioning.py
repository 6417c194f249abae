"""The technician's commands against sockets."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from tests.integration.edge_bus.devices import METER, Registers, float_words
from tests.integration.edge_bus.servers import serving


@pytest.fixture
def registers() -> Registers:
    registers = Registers()
    registers.meter(3, voltage=231.5, power=1500.0, energy=12_345)
    return registers


@pytest.fixture
def profiles(tmp_path):
    (tmp_path / "test_meter.yaml").write_text(METER, encoding="utf-8")
    return tmp_path


async def command(*arguments: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def read(port: int, profiles, *more: str):
    address = ("--tcp", f"127.0.0.1:{port}", "--unit", "3")
    return await command("read", "--profile", "test_meter", "--profiles", str(profiles), *address, *more)


async def test_read_shows_words_value_unit_and_verdict(registers, profiles):
    async with serving(registers.answer) as server:
        result = await read(server.port, profiles)
    assert result.exit_code == 0, result.output
    voltage = next(line for line in result.output.splitlines() if "voltage_l1" in line and "4367" in line)
    assert "231.5" in voltage
    assert " V " in voltage
    assert "✓ voltage in range: voltage_l1 = 231.5 V" in result.output
    assert "✓ energy does not run backwards" in result.output


async def test_read_finds_the_word_order_that_fits_when_the_profile_does_not(registers, profiles):
    for address in (0, 2):
        words = registers.units[3]
        words[address], words[address + 1] = words[address + 1], words[address]
    async with serving(registers.answer) as server:
        result = await read(server.port, profiles, "--json")
    data = json.loads(result.output)
    assert result.exit_code == 3
    assert data["alternatives"][0]["order"] == "word_order: little, byte_order: big"
    assert data["alternatives"][0]["score"] > data["score"]


async def test_read_speaks_chinese(registers, profiles):
    async with serving(registers.answer) as server:
        result = await read(server.port, profiles, "--lang", "zh")
    assert "✓ 电压在合理范围" in result.output
    assert "测试电表" in result.output


async def test_a_record_of_each_reading_is_kept(registers, profiles, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_DATA_DIR", str(tmp_path / "data"))
    async with serving(registers.answer) as server:
        for _ in range(2):
            assert (await read(server.port, profiles, "--record", "--note", "display 123.45")).exit_code == 0
    records = sorted((tmp_path / "data" / "commissioning").glob("*.json"))
    assert len(records) == 2
    kept = json.loads(records[0].read_text(encoding="utf-8"))
    assert kept["note"] == "display 123.45"
    assert kept["points"][2]["words"] == ["0000", "3039"]
    assert kept["points"][2]["value"] == 123.45


async def test_a_device_that_does_not_answer_gives_one_message_with_what_to_check(registers, profiles):
    registers.silent.add(3)
    async with serving(registers.answer) as server:
        result = await read(server.port, profiles, "--timeout", "0.05")
    assert result.exit_code == 2
    assert "no matching reply" in result.output
    assert "edge-agent scan" in result.output


async def test_points_that_the_device_lacks_are_listed_and_do_not_fail_the_rest(registers, profiles):
    for address in (10, 11):
        del registers.units[3][address]
    async with serving(registers.answer) as server:
        result = await read(server.port, profiles)
    assert "does not serve: active_energy_import" in result.output
    assert "231.5" in result.output


async def test_scan_finds_who_answers_and_ranks_the_profiles(registers):
    # An Eastron SDM630 as far as a scan can tell: plausible floats where that meter has them.
    meter: dict[int, int] = dict.fromkeys(range(0x200), 0)
    for address, value in {
        0: 230.1,
        2: 231.2,
        4: 229.7,
        6: 5.0,
        8: 4.8,
        10: 5.2,
        12: 1150.0,
        14: 1110.0,
        16: 1195.0,
    }.items():
        meter.update(zip((address, address + 1), float_words(value), strict=True))
    for address, value in {
        52: 3455.0,
        56: 3460.0,
        62: 0.99,
        70: 50.01,
        72: 12345.6,
        30: 0.99,
        32: 0.99,
        34: 0.99,
    }.items():
        meter.update(zip((address, address + 1), float_words(value), strict=True))
    registers.units = {7: meter}
    registers.silent = set()
    async with serving(registers.answer) as server:
        result = await command(
            "scan", "--tcp", f"127.0.0.1:{server.port}", "--units", "6-8", "--timeout", "0.1", "--json"
        )
    (line,) = [line for line in result.stdout.splitlines() if line.strip().startswith("{")]
    found = json.loads(line)
    assert found["unit"] == 7
    assert any("sdm" in fit["profile"] for fit in found["profiles"]), found


def site(tmp_path, poll_s: float) -> str:
    (tmp_path / "test_meter.yaml").write_text(METER, encoding="utf-8")
    devices = "".join(
        f"      - {{name: m-{u}, profile: test_meter, unit: {u}, poll_s: {poll_s}}}\n" for u in range(1, 31)
    )
    path = tmp_path / "site.yaml"
    path.write_text(
        f"gateway: gw\nprofiles: {tmp_path}\nbuses:\n"
        f"  - name: line\n    transport: rtu\n    serial: /dev/ttyUSB0\n    baud: 9600\n    devices:\n{devices}",
        encoding="utf-8",
    )
    return str(path)


async def test_check_says_before_going_live_that_a_line_cannot_carry_it(tmp_path):
    result = await command("check", site(tmp_path, 1))
    assert result.exit_code == 3
    # 30 × (8 + 5 + 24 + 7 characters at 9600 baud 8N1 + 20 ms) = 1.98 s for one cycle.
    assert "it needs 2.0 s per cycle, you asked for 1 s" in result.output
    assert "read every 3 s" in result.output
    chinese = await command("check", site(tmp_path, 1), "--lang", "zh")
    assert "每轮需要 2.0 秒，您要求 1 秒" in chinese.output


async def test_check_is_content_with_a_line_that_fits(tmp_path):
    result = await command("check", site(tmp_path, 10))
    assert result.exit_code == 0
    assert "30 requests instead of 90" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read",), "give a device of a site file"),
        (("read", "--profile", "x", "--tcp", "h", "--serial", "/dev/x"), "say where"),
        (("scan",), "say where"),
        (("scan", "--tcp", "h", "--units", "1-x"), "write numbers and ranges"),
        (("scan", "--tcp", "h", "--units", "1-300"), "unit ids are 0 to 255"),
        (("read", "--profile", "no_such_profile", "--tcp", "h"), "there is no such profile"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_says_what_to_write(arguments, message):
    result = await command(*arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
