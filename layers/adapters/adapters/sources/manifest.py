"""Which objects under a cost report's prefix are manifests of a billing period."""

from __future__ import annotations

import re

PERIOD = re.compile(r"(?:^|/)billing_period=(?P<period>20\d{2}-(?:0[1-9]|1[0-2]))/", re.IGNORECASE)
# The manifest of a period itself: `metadata/<partition>/<export>-Manifest.json`, not the copy kept with each execution.
MANIFEST = re.compile(
    r"(?:^|/)(?P<export>[^/]+)/metadata/billing_period=20\d{2}-(?:0[1-9]|1[0-2])/(?:(?P=export)-)?Manifest\.json$",
    re.IGNORECASE,
)


def manifest_key_ignored(key: str) -> str:
    """Why an object that looks like a manifest is not one to ingest; empty for one that is."""
    if MANIFEST.search(key):
        return ""
    if PERIOD.search(key) and "/metadata/" in key:
        return "the copy that AWS keeps with each execution; the period's own manifest names the same files"
    return "not the manifest of a CUR 2.0 export"
