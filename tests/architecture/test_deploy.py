"""The production files agree with the code: every variable, command, file and dependency they name exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cloud_api.cli import app as cloud_app
from cloud_api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ENV_EXAMPLE = [
    line.split("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines() if re.match(r"[A-Z_]+=", line)
]


def test_compose_accepts_the_file(tmp_path):
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is missing; as root: apt-get install docker-compose")
    env = tmp_path / ".env"
    env.write_text("".join(f"{name}=value\n" for name in ENV_EXAMPLE))
    command = ["docker-compose", "--env-file", env, "-f", DEPLOY / "compose.yaml", "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_variable_without_a_value_stops_compose_with_its_name(tmp_path):
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is missing; as root: apt-get install docker-compose")
    env = tmp_path / ".env"
    env.write_text("")
    command = ["docker-compose", "--env-file", env, "-f", DEPLOY / "compose.yaml", "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


def test_every_variable_without_a_default_is_in_the_example():
    wanted = set(re.findall(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}", (DEPLOY / "compose.yaml").read_text()))
    assert wanted <= set(ENV_EXAMPLE)


def test_every_cloud_setting_that_compose_gives_exists():
    given = {
        name
        for service in COMPOSE["services"].values()
        for name in service.get("environment", {})
        if name.startswith("CLOUD_")
    }
    known = {f"CLOUD_{name.upper()}" for name in Settings.model_fields}
    assert given
    assert given <= known


def test_every_command_that_compose_runs_exists():
    known = {command.name or command.callback.__name__ for command in cloud_app.registered_commands}
    text = " ".join(str(service.get("command", "")) for service in COMPOSE["services"].values())
    run = set(re.findall(r"cloud-api'?,? '?([a-z-]+)", text))
    assert run == {"serve", "worker", "bootstrap", "migrate", "sparkplug"}
    assert run <= known


def test_every_service_that_another_waits_for_exists_and_can_say_that_it_is_healthy():
    for service in COMPOSE["services"].values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in COMPOSE["services"]
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in COMPOSE["services"][name]


def test_every_image_is_pinned():
    for service in COMPOSE["services"].values():
        assert re.search(r":[^:}]*\d", service["image"]), service["image"]


@pytest.mark.parametrize("dockerfile", sorted((DEPLOY / "docker").glob("*.Dockerfile")), ids=lambda path: path.name)
def test_every_file_that_an_image_copies_exists(dockerfile):
    missing = []
    for line in dockerfile.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _target = line.split()[1:]
            missing += [source for source in sources if not (ROOT / source).exists()]
    assert not missing
