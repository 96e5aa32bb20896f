"""What one usage row of the bill is about.

A cost report has one row per interval and meter; the meter holds everything but the time and the quantity.
"""

from __future__ import annotations

from dataclasses import dataclass

from truth.catalogue import Sku
from truth.organisation import Account, Call, Principal


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """What one usage row of the bill is about, time apart."""

    sku: Sku
    principal: Principal
    call: Call

    @property
    def operation(self) -> str:
        """`line_item_operation`; the oldest Marketplace model still says `Usage`."""
        if self.call.model.key == "claude-3-5-sonnet":
            return "Usage"
        return "InvokeModelStreamingInference" if self.call.is_stream else "InvokeModelInference"

    @property
    def resource_id(self) -> str:
        """`line_item_resource_id`."""
        return self.call.resource_id(self.principal.account, self.principal.region)

    @property
    def sort_key(self) -> tuple[str, ...]:
        """A total order of meters."""
        return (self.principal.account.account_id, self.principal.arn, self.sku.usage_type, self.call.name)


def bill_tags(account: Account, principal: Principal | None, call: Call | None) -> dict[str, str]:
    """The cost report's `tags` map of a usage row."""
    tags = {f"accountTag/{key}": value for key, value in account.tags}
    if principal and principal.tagged_as is not None and principal.tag_in_bill:
        tags[f"iamPrincipal/{principal.tag_key}"] = principal.tagged_as
    if call and call.profile:
        tags[f"resourceTags/{call.profile.tag_key}"] = call.profile.team
    if call and call.project:
        tags["resourceTags/team"] = call.project.team
    return tags
