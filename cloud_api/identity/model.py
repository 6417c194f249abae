"""People and what they may see."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import Language
from cloud_api.kit.ids import OrganisationId, TenantId, UserId
from cloud_api.kit.scope import Scope


class Role(StrEnum):
    """What a member of staff does; a person may have several. Tenants' people have none."""

    FACILITIES = "facilities"
    FINANCE = "finance"
    LEASING = "leasing"
    MANAGER = "manager"
    ADMIN = "admin"


ANY_STAFF = frozenset(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffViewer:
    """A member of the operator's staff, seeing the rows of one organisation."""

    user_id: UserId
    organisation_id: OrganisationId
    login: str
    name: str
    roles: frozenset[Role]
    language: Language

    @property
    def scope(self) -> Scope:
        """Whose rows the database shows."""
        return Scope(kind="staff", organisation_id=self.organisation_id)

    def has_any(self, roles: frozenset[Role]) -> bool:
        """Whether one of `roles` is held; an administrator holds all."""
        return Role.ADMIN in self.roles or bool(self.roles & roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantViewer:
    """A person of a tenant. Nothing in it names another tenant, and nothing reaches one."""

    user_id: UserId
    organisation_id: OrganisationId
    tenant_id: TenantId
    login: str
    name: str
    language: Language

    @property
    def scope(self) -> Scope:
        """Whose rows the database shows."""
        return Scope(kind="tenant", organisation_id=self.organisation_id, tenant_id=self.tenant_id)


Viewer = StaffViewer | TenantViewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An account as administrators see it; `name_zh` and `name_en` are the tenant's, for a tenant's person."""

    id: UserId
    organisation_id: OrganisationId
    tenant_id: TenantId | None
    login: str
    display_name: str
    roles: list[str]
    language: Language
    is_active: bool
    has_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None
    link_expires_at: datetime | None  # Of the link by which the person may set a password.
    name_zh: str | None
    name_en: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in person with the token that their forms must carry."""

    viewer: Viewer
    csrf_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session at its beginning; the token goes into the cookie and is stored nowhere else."""

    token: str
    session: Session


class WrongCredentials(DomainError):
    """The user name or the password is wrong."""

    code = "wrong_credentials"
    status = 401


class WrongPassword(WrongCredentials):
    """This is not your present password."""


class PasswordsDiffer(DomainError):
    """The two new passwords differ."""

    code = "passwords_differ"
    status = 422


class TooManyAttempts(DomainError):
    """Too many failed sign-ins; wait a quarter of an hour and try again."""

    code = "too_many_attempts"
    status = 429


class LoginTaken(DomainError):
    """Another user already has this user name."""

    code = "login_taken"


class LastAdministrator(DomainError):
    """Nobody else could manage accounts: make somebody else an administrator first."""

    code = "last_administrator"


class LinkUsed(DomainError):
    """This link was used, replaced or is too old: ask an administrator for a new one."""

    code = "link_used"
    status = 410


class WeakPassword(DomainError):
    """A password needs at least ten characters."""

    code = "weak_password"
    status = 422
