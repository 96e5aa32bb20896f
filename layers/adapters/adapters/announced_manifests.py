"""Manifests that were announced: `ANNOUNCED#<period>` / `<manifest etag>#<hash of its place>` in the ledger; they expire.

`ANNOUNCED#` / `SINCE` is when the bucket was first found without a manifest.
"""

from __future__ import annotations

from datetime import datetime

from adapters.dynamodb import Table, to_wire
from attribution.canonical import content_hash
from attribution.ports import ListedManifest

_SINCE = {"pk": "ANNOUNCED#", "sk": "SINCE"}


class DynamoAnnouncedManifests:
    """`AnnouncedManifests` in the ledger table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def is_waiting(self, manifest: ListedManifest, now: datetime) -> bool:
        """Whether the manifest was announced a short while ago."""
        found = self._table.get(**_key(manifest))
        # DynamoDB may keep an expired item for days.
        return found is not None and now.timestamp() < int(found["expires_at"])

    def remember(self, manifest: ListedManifest, *, until: datetime) -> None:
        """Keep in mind that the manifest was announced."""
        item = _key(manifest) | {"manifest_key": manifest.source.key, "expires_at": int(until.timestamp())}
        self._table.client.put_item(TableName=self._table.name, Item=to_wire(item))

    def watched_since(self, now: datetime) -> datetime:
        """When this was asked first: now, unless it was before."""
        item = _SINCE | {"since": now.isoformat()}
        try:
            self._table.client.put_item(
                TableName=self._table.name, Item=to_wire(item), ConditionExpression="attribute_not_exists(pk)"
            )
        except self._table.client.exceptions.ConditionalCheckFailedException:
            found = self._table.get(**_SINCE)
            return datetime.fromisoformat(str(found["since"])) if found else now
        return now


def _key(manifest: ListedManifest) -> dict[str, str]:
    # A key of S3 may be as long as a sort key; its hash leaves room for the ETag.
    return {
        "pk": f"ANNOUNCED#{manifest.period}",
        "sk": f"{manifest.source.etag}#{content_hash(str(manifest.source))[:32]}",
    }
