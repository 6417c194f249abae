"""The language of what a command prints."""

from typing import Annotated

import typer

Language = Annotated[str, typer.Option("--lang", envvar="EDGE_LANG", help="en or zh.")]
