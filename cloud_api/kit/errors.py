"""Business refusals: a class with a code and a status, rendered as problem+json (RFC 9457)."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from cloud_api.kit.i18n import Text


class DomainError(Exception):
    """A refusal that a person can act on; its text says what, where and what to do. Never pages anyone.

    `message` is a literal with `{places}`, the key of its translation; `values` fill them and stand in the body of the
    problem. Without a message the first line of the class's docstring is said. `str()` is English.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409

    def __init__(self, message: str = "", /, **values: Any) -> None:
        self.text = Text(message or (type(self).__doc__ or self.code).strip().splitlines()[0], **values)
        super().__init__(str(self.text))

    @property
    def values(self) -> dict[str, Any]:
        """Return what the text was filled with, and what else the refusal has to tell a program."""
        return self.text.values

    def problem(self) -> dict[str, Any]:
        """Return the members of the problem+json body, in English."""
        return {name: _plain(value) for name, value in self.values.items()} | {
            "type": f"about:blank#{self.code}",
            "code": self.code,
            "status": self.status,
            "detail": str(self),
        }


def _plain(value: object) -> object:
    """Return a value as JSON writes it; what JSON does not know becomes its words."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast("Sequence[object]", value)]
    return value if isinstance(value, str | int | float | dict | None) else str(value)


class NotFound(DomainError):
    """There is nothing here by that name, or it is not yours to see."""

    code = "not_found"
    status = 404


class Invalid(DomainError):
    """The input cannot be accepted as it is."""

    code = "invalid"
    status = 422
