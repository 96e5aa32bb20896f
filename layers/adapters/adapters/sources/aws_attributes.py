"""What AWS says now of the tags, names and places of roles, users, projects and accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from attribution.canonical import pairs
from attribution.tag_history import ACCOUNT, PROJECT, ROLE, Attributes, Identity
from attribution.usage import Pairs

_GONE = ("NoSuchEntity", "ResourceNotFoundException")
# By the code of the error.
_REFUSED = {
    "AccessDenied": "reading it is denied to this stack",
    "AccessDeniedException": "reading it is denied to this stack",
    "AWSOrganizationsNotInUseException": "the account belongs to no organization",
    "AccountNotFoundException": "it is no account of this organization",
    "ValidationError": "AWS has no tags of it to read",
}
_DEEPEST_PATH = 10

ReadProject = Callable[[str], tuple[str, Mapping[str, str]] | None]
"""Name and tags of a project by its ARN; None where it does not exist."""


class AwsAttributes:
    """`ReadAttributes` of this account, and of the accounts of its organization where the stack may read that.

    Only the management account and delegated administrators of an organization may; elsewhere accounts have no name here.
    """

    def __init__(self, client: Callable[..., Any], projects: ReadProject, *, read_organization: bool) -> None:
        self._client = client
        self._read_project = projects
        self._read_organization = read_organization

    def read(self, identity: Identity) -> Attributes | None:
        """What one thing is tagged with and called; None where it does not exist."""
        try:
            if identity.kind == ACCOUNT:
                return self._account(identity.id)
            if identity.kind == PROJECT:
                project = self._read_project(identity.id)
                return Attributes(pairs(project[1]), project[0]) if project else None
            return self._principal(identity)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _GONE:
                return None
            if code in _REFUSED:
                raise PermissionError(_REFUSED[code]) from error
            raise

    def _principal(self, identity: Identity) -> Attributes:
        iam = self._client("iam")
        operation, name = ("list_role_tags", "RoleName") if identity.kind == ROLE else ("list_user_tags", "UserName")
        pages = iam.get_paginator(operation).paginate(**{name: identity.name})
        tags = [tag for page in pages for tag in page["Tags"]]
        return Attributes(_pairs(tags), identity.name)

    def _account(self, account_id: str) -> Attributes:
        if not self._read_organization:
            raise PermissionError("the stack does not read AWS Organizations: see its parameter ReadOrganization")
        organizations = self._client("organizations")
        name = organizations.describe_account(AccountId=account_id)["Account"].get("Name", "")
        pages = organizations.get_paginator("list_tags_for_resource").paginate(ResourceId=account_id)
        tags = [tag for page in pages for tag in page["Tags"]]
        return Attributes(_pairs(tags), name, self._path_to(organizations, account_id))

    def _path_to(self, organizations: Any, child_id: str) -> str:
        """The names of the organizational units above an account, from the root down."""
        names: list[str] = []
        parent = organizations.list_parents(ChildId=child_id)["Parents"][0]
        while parent["Type"] == "ORGANIZATIONAL_UNIT" and len(names) < _DEEPEST_PATH:
            unit = organizations.describe_organizational_unit(OrganizationalUnitId=parent["Id"])["OrganizationalUnit"]
            names.append(unit["Name"])
            parent = organizations.list_parents(ChildId=parent["Id"])["Parents"][0]
        return "/".join(["Root", *reversed(names)])


def _pairs(tags: Iterable[Mapping[str, str]]) -> Pairs:
    return tuple(sorted((tag["Key"], tag["Value"]) for tag in tags))
