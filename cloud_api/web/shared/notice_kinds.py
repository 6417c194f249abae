"""What the columns of a park's notices are called; they follow the columns of its public account."""

from cloud_api.kit.i18n import mark as N_  # noqa: N812

KINDS = {
    "news": N_("park news"),
    "service": N_("park service"),
    "activity": N_("activity"),
    "policy": N_("policy application"),
    "story": N_("company story"),
}
