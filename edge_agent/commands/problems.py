"""Mistakes of files, as a command shows them."""

import typer

from device_profiles.lined_yaml import ProfileError
from device_profiles.wording import say_problem


def show_problems(error: ProfileError, language: str) -> None:
    """Print every mistake on a line of its own to standard error."""
    for problem in error.problems:
        typer.echo(say_problem(problem, language), err=True)
