"""Every text that a technician may meet is there in both languages."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_profiles.lined_yaml import ProfileError
from device_profiles.wording import say, say_line, say_problem
from device_profiles.wording_zh import CHINESE
from edge_agent.cli import app
from edge_agent.commands.language import language
from edge_agent.commissioned import load_commissioned
from tests.support.messages import messages

ROOT = Path(__file__).parents[3]
SPEAKING = [
    *(
        f"device_profiles/{name}.py"
        for name in ("build", "build_common", "build_mqtt", "catalog", "lined_yaml", "schema")
    ),
    *(f"edge_agent/{name}.py" for name in ("settings", "commissioned", "writes", "links", "tls", "orders", "poller")),
    *(f"edge_agent/drivers/modbus/{name}.py" for name in ("client", "errors")),
    *("edge_agent/drivers/mqtt/topics.py", "edge_agent/drivers/mqtt/privacy.py"),
    *("edge_agent/outbox/opening.py", "edge_agent/outbox/store.py"),
]
# Parts that are cut away or put together before anybody sees them, labels with their own Chinese, and names of tasks.
NOT_ALONE = {
    " (found {})",
    "Value error, ",
    "command {}",
    "peak tariff",
    "flat tariff",
    "valley tariff",
    "spike tariff",
}


@pytest.mark.parametrize("path", SPEAKING)
def test_every_text_of_a_module_that_speaks_has_its_chinese(path):
    assert sorted(messages(ROOT / path) - CHINESE.keys() - NOT_ALONE) == []


@pytest.mark.parametrize("template", sorted(CHINESE))
def test_a_translation_says_what_was_put_in(template):
    count = template.count("{}")
    filled = CHINESE[template].format(*(f"<{number}>" for number in range(count))) if count else CHINESE[template]
    # English needs a word for singular, a fraction and the name of a file that Chinese leaves out.
    assert len(re.findall(r"<\d>", filled)) >= (count if "instance of" not in template else 0)


def test_what_was_put_in_is_translated_too_but_names_are_not():
    assert say("cannot connect to 10.0.0.7:502: connection lost", "zh") == "无法连接 10.0.0.7:502：连接中断"
    assert say("bus “bus” is already used on line 3", "zh") == "总线“bus”已在第 3 行使用"
    assert say("not_allowed: the site file does not allow it: add “writes: [on_off]” to ahu-1", "zh") == (
        "未获允许：站点文件不允许：请在 ahu-1 中添加“writes: [on_off]”"
    )
    assert say("something new", "zh") == "something new"


BROKEN = """\
gateway: gw-1
buses:
  - name: b
    transport: tcp
    host: 127.0.0.1
    devices:
      - {name: m-1, profile: eastron_sdm63, unit: 999}
      - {name: m-1, profile: eastron_sdm630, unit: 2, pol_s: 5}
"""


def test_what_came_over_the_wire_is_said_in_chinese_and_an_unknown_text_stays():
    assert say_line("exception 0B: gateway got no answer from the device", "zh") == "异常码 0B：网关未收到设备应答"
    assert say_line("site.yaml:9: buses.b.poll_s: is not a known key → something", "zh").startswith(
        "site.yaml:9: buses.b"
    )
    assert say_line("a text of a newer agent", "zh") == "a text of a newer agent"
    assert say_line("not connected", "en") == "not connected"


def test_all_mistakes_of_a_site_file_are_shown_in_chinese(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(BROKEN, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_commissioned(path)
    shown = [say_problem(problem, "zh") for problem in caught.value.problems]
    assert shown == [say_line(str(problem), "zh") for problem in caught.value.problems]
    assert any(line.endswith("应不大于 255（现为 999） → 更正该值") for line in shown)
    assert any(line.endswith("不是已知的键 → 是否想写“poll_s”？") for line in shown)
    result = CliRunner().invoke(app, ["check", str(path), "--lang", "zh"])
    assert (result.exit_code, "是否想写" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("given", "shell", "expected"),
    [("zh", "C", "zh"), ("en", "zh_CN.UTF-8", "en"), ("", "zh_CN.UTF-8", "zh"), ("", "C.UTF-8", "en")],
)
def test_the_language_is_the_one_asked_for_or_the_shells(monkeypatch, given, shell, expected):
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", shell)
    assert language(given) == expected
