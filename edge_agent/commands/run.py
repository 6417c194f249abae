"""`edge-agent run`: the agent as a process."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import structlog
import typer
from pydantic import ValidationError

from device_profiles.lined_yaml import ProfileError
from device_profiles.wording import say
from edge_agent.agent import Agent, StartError
from edge_agent.commands.language import language
from edge_agent.commands.problems import show_problems
from edge_agent.outbox.store import OutboxError
from edge_agent.settings import AgentSettings


def run_agent(site: Path, data_dir: Path | None, lang: str) -> int:
    """Run until a signal; returns the exit code. Whatever a person must mend stops the start with one message."""
    tongue = language(lang)
    try:
        settings = AgentSettings() if data_dir is None else AgentSettings(data_dir=data_dir)
        _log_to_standard_error(settings.log_level)
        return asyncio.run(_run(site, settings))
    except ProfileError as error:
        show_problems(error, tongue)
    except ValidationError as error:
        for found in error.errors():
            name = "EDGE_" + "_".join(str(part) for part in found["loc"]).upper()
            text = say(f"{found['msg']} (found {found['input']!r})", tongue)
            typer.echo(f"{name}: {text}", err=True)
    except (StartError, OutboxError) as error:
        typer.echo(say(str(error), tongue), err=True)
    except OSError as error:
        named = f"{error.filename or site}: {error.strerror}: check the path and its permissions"
        typer.echo(say(named if error.strerror else str(error), tongue), err=True)
    return 1


async def _run(site: Path, settings: AgentSettings) -> int:
    agent = Agent(site, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, agent.reload)
    await agent.run(stop)
    return 0


def _log_to_standard_error(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer(colors=False)
            if sys.stderr.isatty()
            else structlog.processors.LogfmtRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # httpx tells of every request; the link's own status says what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)
