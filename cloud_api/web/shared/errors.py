"""Errors for people: the sign-in page when nobody is signed in, and a page that says what to do."""

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import as_language, use_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared import templates

_PAGES = ("/console", "/portal", "/login", "/account")
_TITLES = {
    401: N_("Please sign in"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    409: N_("This cannot be done now"),
    422: N_("Something in the form is missing or wrong"),
    429: N_("Too many attempts"),
}
_FIELDS = {
    "missing": N_("{field} is missing"),
    "too_long": N_("{field} is too long"),
    "too_short": N_("{field} is too short"),
    "than": N_("{field} is out of range"),
    "than_equal": N_("{field} is out of range"),
}
LANGUAGE_COOKIE = "wattlease_language"


class SignInNeeded(Exception):
    """Nobody is signed in; the answer leads to the sign-in page and back."""


def wants_page(request: Request) -> bool:
    """Whether a person asked: by the address, or by what the browser accepts."""
    path = request.url.path
    return path == "/" or any(path == p or path.startswith(p + "/") for p in _PAGES)


def language_of(request: Request) -> str:
    """Return the language tag of who asks: as signed in, else their cookie, else what the browser prefers."""
    signed_in: str | None = getattr(request.state, "language", None)
    return signed_in or request.cookies.get(LANGUAGE_COOKIE) or request.headers.get("Accept-Language", "zh")


def error_page(request: Request, error: Exception) -> Response:
    """Draw an error with its status; htmx shows it as a message instead of swapping it in."""
    from cloud_api.web.shared.page import draw, zone_of  # page.py needs SignInNeeded from here.

    language = as_language(language_of(request))
    with use_language(language):
        status, detail = _status_and_detail(error)
    context = {"status": status, "title": _TITLES.get(status, N_("Something went wrong")), "detail": detail}
    return draw(
        request,
        "shared/error.html",
        language=language,
        zone=zone_of(request),
        status=status,
        context=context,
    )


async def to_sign_in(request: Request, _: Exception) -> Response:
    """Lead to the sign-in page; a page asked for by htmx is left as a whole."""
    target = f"/login?next={request.url.path}" if request.method == "GET" else "/login"
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse(target, status_code=303)


def _status_and_detail(error: Exception) -> tuple[int, str]:
    if isinstance(error, DomainError):
        return error.status, templates.say(error)
    if isinstance(error, RequestValidationError):
        if any(e["loc"][0] == "path" for e in error.errors()):  # An address that leads nowhere is no form to mend.
            return 404, ""
        return 422, "; ".join(_field_words(e["type"], str(e["loc"][-1])) for e in error.errors()[:5])
    if isinstance(error, HTTPException):
        return error.status_code, "" if error.status_code == 404 else str(error.detail)
    return 500, ""


def _field_words(kind: str, field: str) -> str:
    """Say what is wrong with a field of a form or an address; `kind` is pydantic's, such as `greater_than_equal`."""
    words = next((text for end, text in _FIELDS.items() if kind == end or kind.endswith(f"_{end}")), None)
    return templates.gettext(words or N_("{field} is not in the expected form"), field=field)
