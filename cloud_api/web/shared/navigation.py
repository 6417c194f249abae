"""The menus of console and portal: each page module offers its own entry."""

from dataclasses import dataclass
from typing import Literal

from cloud_api.identity.model import ANY_STAFF, Role, StaffViewer
from cloud_api.kit.i18n import mark as N_  # noqa: N812  # The usual name of the marker.

Group = Literal["live", "energy", "money", "estate", "system", "portal"]

# The console's groups, in order; the group "portal" is the other menu.
GROUPS: dict[Group, str] = {
    "live": N_("Live"),
    "energy": N_("Energy"),
    "money": N_("Billing"),
    "estate": N_("Estate"),
    "system": N_("System"),
}

ROLE_NAMES: dict[Role, str] = {
    Role.FACILITIES: N_("Facility manager"),
    Role.FINANCE: N_("Finance"),
    Role.LEASING: N_("Leasing"),
    Role.MANAGER: N_("Manager"),
    Role.ADMIN: N_("Administrator"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """One entry; `label` is marked with N_ and translated when drawn, `icon` names a symbol of static/icons.svg."""

    group: Group
    order: int
    label: str
    href: str
    icon: str = "dot"
    roles: frozenset[Role] = ANY_STAFF


_items: dict[str, NavItem] = {}


def register_navigation(item: NavItem) -> None:
    """Add an entry; the same address again replaces it."""
    _items[item.href] = item


def navigation_for(viewer: StaffViewer) -> list[tuple[str, list[NavItem]]]:
    """Return the groups with the entries that this person may open, in order."""
    allowed = sorted((i for i in _items.values() if viewer.has_any(i.roles)), key=lambda i: (i.order, i.href))
    groups = [(label, [i for i in allowed if i.group == group]) for group, label in GROUPS.items()]
    return [(label, items) for label, items in groups if items]


def portal_navigation() -> list[NavItem]:
    """Return the portal's entries, in order."""
    return sorted((i for i in _items.values() if i.group == "portal"), key=lambda i: (i.order, i.href))
