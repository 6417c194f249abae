"""The language of what a command prints: --lang, EDGE_LANG, or what the shell is set to."""

import os
from typing import Annotated, Literal

import typer

Tongue = Literal["en", "zh"]


def shell_language() -> Tongue:
    """Return the language of the shell (LC_ALL, LC_MESSAGES, LANG): Chinese, or English for all others."""
    set_to = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return "zh" if set_to.lower().startswith("zh") else "en"


def language(given: str) -> Tongue:
    """Return the language that is meant by `zh`, `zh-CN`, `zh_CN.UTF-8`, `en` …; without a word the shell's."""
    if not given:
        return shell_language()
    return "zh" if given.lower().startswith("zh") else "en"


DEFAULT = ""
Language = Annotated[str, typer.Option("--lang", envvar="EDGE_LANG", help="en or zh; default: the shell's.")]
