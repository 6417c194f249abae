"""Business refusals: a class with a code and a status, rendered as problem+json (RFC 9457)."""

from typing import Any, ClassVar


class DomainError(Exception):
    """A refusal that a person can act on; its text says what, where and what to do. Never pages anyone."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or (type(self).__doc__ or self.code).strip().splitlines()[0])
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """Return the members of the problem+json body."""
        return {"type": f"about:blank#{self.code}", "code": self.code, "status": self.status, "detail": str(self)} | (
            self.extra
        )


class NotFound(DomainError):
    """There is nothing here by that name, or it is not yours to see."""

    code = "not_found"
    status = 404


class Invalid(DomainError):
    """The input cannot be accepted as it is."""

    code = "invalid"
    status = 422
