"""Signing in to the JSON API."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cloud_api.db.request import Now, SystemTx
from cloud_api.identity import service
from cloud_api.identity.model import TooManyAttempts, WrongCredentials

router = APIRouter(prefix="/session", tags=["session"])


class Credentials(BaseModel):
    """A person's user name and password."""

    login: str = Field(max_length=120)
    password: str = Field(max_length=256)


@router.post("")
async def sign_in(request: Request, conn: SystemTx, clock: Now, credentials: Credentials) -> JSONResponse:
    """Return a token for 'Authorization: Bearer …'; it ends 14 days after its last use."""
    address = request.client.host if request.client else ""
    done = await service.log_in(conn, clock, login=credentials.login, password=credentials.password, address=address)
    if isinstance(done, WrongCredentials | TooManyAttempts):  # The attempt is recorded by this transaction.
        return JSONResponse(done.problem(), status_code=done.status, media_type="application/problem+json")
    return JSONResponse({"token": done.token})
