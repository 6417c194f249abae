"""Topic templates of a profile, filled for one device; matching of MQTT filters. Pure."""

import re
from collections.abc import Mapping

TOPIC_LENGTH_MAX = 512
_PARAMETER = re.compile(r"\{(\w+)\}")
_FORBIDDEN = re.compile("[+#\x00]")


class TopicError(ValueError):
    """A topic cannot be made for this device; the message names the remedy."""


def fill(template: str, parameters: Mapping[str, object]) -> str:
    """Return the topic (or filter) of a device. Raises TopicError for a missing or dangerous parameter."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in parameters:
            raise TopicError(f"the profile's topic {template!r} needs {name!r}: add it under `parameters:`")
        text = str(parameters[name]).strip("/")
        if not text or _FORBIDDEN.search(text):
            raise TopicError(f"{name}: {text!r} cannot be part of a topic; it must not be empty or contain + # or NUL")
        return text

    topic = _PARAMETER.sub(value, template)
    if len(topic.encode()) > TOPIC_LENGTH_MAX:
        raise TopicError(f"the topic {topic[:40]!r}… is longer than {TOPIC_LENGTH_MAX} bytes")
    return topic


def is_filter(topic: str) -> bool:
    """Tell whether a topic has wildcards."""
    return "+" in topic or "#" in topic


def matches(pattern: str, topic: str) -> bool:
    """Tell whether a topic matches a filter (MQTT 5.0, section 4.7)."""
    if topic.startswith("$") and not pattern.startswith("$"):
        return False
    wanted, given = pattern.split("/"), topic.split("/")
    for index, part in enumerate(wanted):
        if part == "#":
            return True
        if index >= len(given) or part not in {"+", given[index]}:
            return False
    return len(wanted) == len(given)
