"""A policy document as a file, YAML or JSON: every error names the file and the line of the key it is about.

Plain values stay text, as people wrote them: YAML would read an account id with a leading zero as an octal number, and `no` as
a boolean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedrock_costs.failures import Failure

if TYPE_CHECKING:
    from yaml import MappingNode, Node

    from adapters.policy import PolicyDocument

_MAX_BYTES = 1024 * 1024
_MESSAGES = {
    "extra_forbidden": "there is no such key",
    "missing": "the key is missing",
    "string_type": "write plain text",
    "decimal_parsing": "write a number, such as 1200 or 99.50",
}
_PATTERNS = {"[key]": "an account id is 12 digits", "currency": "write an ISO code in capital letters, such as USD"}
_MAPPINGS = {
    "limit": '{amount: "5", currency: USD}',
    "accounts": '{"111122223333": platform}',
    "document": "the keys cost_categories, shared_charges and budgets",
    "item": "its keys, such as name: search",
}
# What stands for the form of a cost category in the place of an error.
_FORMS = ("(AWS definition)", "(short form)")
_NOTHING = ("", "~", "null")
# An error about the document as a whole begins with the part that it is about.
_ABOUT = re.compile(r"^(?:Value error, )?(?P<kind>budget|cost category|shared charge|anomaly monitor) '(?P<name>[^']*)'")
_LISTS = {
    "budget": "budgets",
    "cost category": "cost_categories",
    "shared charge": "shared_charges",
    "anomaly monitor": "anomaly_monitors",
}


def read_policy_file(path: Path) -> PolicyDocument:
    """The validated document of a file."""
    from pydantic import ValidationError

    from adapters.policy import PolicyDocument
    from adapters.validation import place as named

    root, document = _load(path)
    included = _include(path, root, document)
    try:
        return PolicyDocument.model_validate(document)
    except ValidationError as error:
        wrong = []
        for found in error.errors():
            node = _about(root, found["msg"]) or _node_at(root, found["loc"])
            place = f"{_file_of(found['loc'], included) or path}:{node.start_mark.line + 1}"
            name = named(found["loc"]) or "document"
            message = _message(found["type"], found["loc"], found["input"]) or found["msg"].removeprefix("Value error, ")
            wrong.append((node.start_mark.line, f"{place}: {name}: {message}"))
        raise Failure(
            f"{path} is not a usable policy",
            fix="Correct the file; `bedrock-costs config check` checks it without changing anything.",
            details=tuple(line for _, line in sorted(wrong)),
        ) from None


def _include(path: Path, root: Node, document: object) -> dict[int, Path]:
    """Put definitions in their places that lie in files of their own (`- file: team.json`); which file each is from."""
    from yaml import MappingNode, SequenceNode

    listed = document.get("cost_categories") if isinstance(document, dict) else None
    entry = _entry(root, "cost_categories") if isinstance(root, MappingNode) else None
    if not isinstance(listed, list) or entry is None or not isinstance(entry[1], SequenceNode):
        return {}
    included: dict[int, Path] = {}
    for number, item in enumerate(listed):
        if isinstance(item, dict) and set(item) == {"file"} and isinstance(item["file"], str):
            included[number] = path.parent / item["file"]
            entry[1].value[number], listed[number] = _load(included[number])
    return included


def _file_of(location: tuple[int | str, ...], included: dict[int, Path]) -> Path | None:
    """The file that a wrong place is in; None for the policy itself."""
    match location:
        case ("cost_categories", int(number), *_):
            return included.get(number)
    return None


def _message(kind: str, location: tuple[int | str, ...], value: object) -> str:
    """What to write, where the validator's own words speak of its types or patterns; empty where they will do."""
    location = tuple(part for part in location if part not in _FORMS)
    field = "document" if not location else "item" if isinstance(location[-1], int) else str(location[-1])
    if kind in ("tuple_type", "list_type"):
        return f"write a list: [{value}]" if isinstance(value, str) else "write a list: [search]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"write {_MAPPINGS[field]}" if field in _MAPPINGS else ""
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(field, "begin with a letter or digit; go on with letters, digits, spaces and . _ / + = @ -")
    return _MESSAGES.get(kind, "")


def _load(path: Path) -> tuple[Node, Any]:
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Failure(f"{path} is larger than {_MAX_BYTES:,} bytes: no policy is")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 text", str(error), "Save it as UTF-8.") from error
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", fix="Check the path.") from error
    if path.suffix.lower() == ".json":
        # JSON may be indented with tabs, which YAML refuses; inside its strings there are none.
        text = text.replace("\t", " ")
    try:
        # libyaml where it is there: cost categories of hundreds of rules take a minute without.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        root = yaml.compose(text, loader)
        if root is None:
            raise Failure(f"{path} is empty", fix="Begin with what `bedrock-costs config show` prints.")
        _refuse_ambiguity(path, root, set())
        return root, yaml.load(text, loader)  # noqa: S506 - builds nothing but text, lists and mappings
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise Failure(f"{path}{line}: {error.problem or error.context}", fix="Correct the YAML or JSON.") from error
    except yaml.YAMLError as error:
        raise Failure(f"{path}: {error}", fix="Correct the YAML or JSON.") from error


def _refuse_ambiguity(path: Path, node: Node, seen: set[int]) -> None:
    """Refuse what a YAML parser settles silently: keys given twice, and keys without a value."""
    from yaml import MappingNode, SequenceNode

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for item in node.value:
            _refuse_ambiguity(path, item, seen)
    elif isinstance(node, MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in keys:
                raise Failure(f"{path}:{line}: {key.value}: the key is given twice", fix="Keep one of them.")
            keys.add(key.value)
            if value.value in _NOTHING and not getattr(value, "style", None):
                raise Failure(f"{path}:{line}: {key.value}: the key has no value", fix="Give it one, or leave the key out.")
            _refuse_ambiguity(path, value, seen)


def _node_at(root: Node, location: Sequence[int | str]) -> Node:
    """The key, or the item, at a place; the nearest one around it where the place itself is missing."""
    from yaml import MappingNode, SequenceNode

    node, shown = root, root
    for part in location:
        if part in _FORMS:
            described = _entry(node, "CostCategory") if isinstance(node, MappingNode) else None
            node = described[1] if described else node
        elif isinstance(node, MappingNode):
            entry = _entry(node, str(part))
            if entry is None:
                break
            shown, node = entry
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = shown = node.value[part]
        else:
            break
    return shown


def _entry(node: MappingNode, name: str) -> tuple[Node, Node] | None:
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _name_of(item: Node) -> tuple[Node, Node] | None:
    """What names a budget, a shared charge, an anomaly monitor or a cost category, also one as AWS writes it."""
    from yaml import MappingNode

    if not isinstance(item, MappingNode):
        return None
    described = _entry(item, "CostCategory")
    return _name_of(described[1]) if described else _entry(item, "name") or _entry(item, "Name")


def _about(root: Node, message: str) -> Node | None:
    """The part that a message about the whole document names; the last one of that name."""
    from yaml import MappingNode, SequenceNode

    about = _ABOUT.match(message)
    if about is None or not isinstance(root, MappingNode):
        return None
    listed = _entry(root, _LISTS[about["kind"]])
    if listed is None or not isinstance(listed[1], SequenceNode):
        return None
    for item in reversed(listed[1].value):
        named = _name_of(item)
        if named and named[1].value == about["name"]:
            found: Node = named[0]
            return found
    return None
