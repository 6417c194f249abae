"""What the agent says about mistakes and errors, in Chinese: in its commands, on its page and on the cloud's pages.

The code and the wire speak English; this is the only translator.

A message is a template of `wording_zh.py` with something put in; what was put in may be a message itself, unless it
stands between “quotes”: then it is a name. Tests hold the catalogue against the source of every module that speaks.
"""

import re
from functools import lru_cache

from device_profiles.lined_yaml import Problem
from device_profiles.wording_zh import CHINESE

# A `Problem` as a line: place, what is wrong, how to mend it.
_PROBLEM = re.compile(r"(.+?:\d+: .+?): (.+) → (.+)", re.DOTALL)


def say(text: str, language: str) -> str:
    """Return `text` in `en` or `zh`; what the catalogue lacks stays as it is."""
    return _chinese(text) if language == "zh" else text


def say_line(text: str, language: str) -> str:
    """Return what came over the wire, where a mistake is one line, in `en` or `zh`."""
    if language != "zh":
        return text
    problem = _PROBLEM.fullmatch(text)
    if problem is None:
        return _chinese(text)
    place, what, remedy = problem.groups()
    return f"{place}：{_chinese(what)} → {_chinese(remedy)}"


def say_problem(problem: Problem, language: str) -> str:
    """Show one mistake of a file on one line, with its place, that editors and terminals turn into a link."""
    if language != "zh":
        return str(problem)
    what, remedy = say(problem.what, language), say(problem.remedy, language)
    return f"{problem.path}:{problem.line}: {problem.where}：{what} → {remedy}"


@lru_cache(maxsize=4096)
def _chinese(text: str) -> str:
    exact = CHINESE.get(text)
    if exact is not None:
        return exact
    for pattern, quoted, chinese in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            parts = zip(match.groups(), quoted, strict=True)
            return chinese.format(*(part if is_name else _chinese(part) for part, is_name in parts))
    return text


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], list[bool], str]]:
    """Return the templates as patterns, those with the most words of their own first; and which parts are names."""
    templates = sorted((key for key in CHINESE if "{}" in key), key=lambda key: -len(key.replace("{}", "")))
    return [
        (
            re.compile("(.*?)".join(re.escape(part) for part in key.split("{}")), re.DOTALL),
            [part.endswith("“") for part in key.split("{}")[:-1]],
            CHINESE[key],
        )
        for key in templates
    ]
