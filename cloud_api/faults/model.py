"""Values of fault detection that other packages speak of."""

from enum import StrEnum


class Verdict(StrEnum):
    """What a rule says at an instant; NO_EVAL ("unknown") neither raises nor clears."""

    FAULT = "fault"
    OK = "ok"
    NO_EVAL = "no_eval"
