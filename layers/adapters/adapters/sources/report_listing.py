"""The manifests of billing periods that lie in the customer's bucket now, found by listing it.

The bucket is listed key by key, a thousand at a time, except for the data folders of Data Exports: they gather the files of
every refresh, and a listing that reaches one goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from adapters.sources.manifest import named
from attribution.ports import ListedManifest, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DATA_FOLDER = re.compile(r"^(?P<folder>(?:.*?/)?data)/billing_period=20\d{2}-\d{2}/", re.IGNORECASE)
# The character after the slash: what begins with the folder and a slash sorts before it.
_BEHIND_SLASH = "0"


class S3ReportListing:
    """`ReportListing` of one prefix of a bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def manifests(self) -> Iterator[ListedManifest]:
        """Every manifest that names a period's newest delivery; copies that AWS keeps with each execution are left out."""
        for item in self._objects():
            about = named(item["Key"])
            if about is not None:
                source = StoredObject(self._bucket, item["Key"], item["ETag"].strip('"'))
                yield ListedManifest(source, about.period, item["LastModified"], item["Size"])

    def _objects(self) -> Iterator[Any]:
        request: Any = {"Bucket": self._bucket, "Prefix": self._prefix}
        while True:
            page = self._client.list_objects_v2(**request)
            found = page.get("Contents", [])
            yield from found
            if not page["IsTruncated"]:
                return
            inside = _DATA_FOLDER.match(found[-1]["Key"])
            request["StartAfter"] = inside["folder"] + _BEHIND_SLASH if inside else found[-1]["Key"]
