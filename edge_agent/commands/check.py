"""`edge-agent check`, offline."""

from pathlib import Path

import typer

from device_profiles.lined_yaml import ProfileError
from edge_agent.commissioned import load_commissioned


def check_site(path: Path) -> int:
    """Print every mistake, or what the file describes; returns the exit code."""
    try:
        site = load_commissioned(path).site
    except ProfileError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        return 1
    devices = sum(len(bus.devices) for bus in site.buses) + sum(len(broker.devices) for broker in site.mqtt)
    typer.echo(f"{path}: sound: {len(site.buses)} buses, {len(site.mqtt)} brokers, {devices} devices")
    return 0
