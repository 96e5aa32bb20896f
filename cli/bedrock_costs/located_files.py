"""YAML and JSON files as plain values that know the file and the line they are from.

Plain values stay text, as people wrote them: YAML would read an account id with a leading zero as an octal number, and `no` as
a boolean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode
from yaml.constructor import BaseConstructor

from bedrock_costs.failures import Failure

_MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 100
_MAX_NODES = 1_000_000
_NOTHING = ("", "~", "null")
_CORRECT = "Correct the YAML or JSON."


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A line of a file, counted from one."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class _Constructor(BaseConstructor):
    """Builds text, lists and mappings, and remembers which node each of the latter two was built from."""

    def __init__(self, path: Path, known: dict[int, tuple[Path, Node, object]]) -> None:
        super().__init__()
        self._path = path
        self._known = known

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        made = super().construct_object(node, deep)
        if isinstance(made, dict | list):
            # The value is kept, too: its identity is the key, and must not become another one's.
            self._known[id(made)] = (self._path, node, made)
        return made


class LocatedFiles:
    """Files that were read. Their values may be put together anew: each list and mapping still knows where it was written."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Path, Node, object]] = {}

    def load(self, path: Path) -> Any:
        """What a file says: text, lists and mappings; None of an empty file."""
        text = _text(path)
        try:
            # libyaml where it is there: cost categories of hundreds of rules take a minute without.
            loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
            _refuse_depth(path, text, loader)
            root = yaml.compose(text, loader)
            if root is None:
                return None
            if _refuse_ambiguity(path, root, {}) > _MAX_NODES:
                raise Failure(f"{path}: its aliases stand for more than {_MAX_NODES:,} values: no policy is that large")
            return _Constructor(path, self._known).construct_document(root)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise Failure(f"{path}{line}: {error.problem or error.context}", fix=_CORRECT) from error
        except yaml.YAMLError as error:
            raise Failure(f"{path}: {error}", fix=_CORRECT) from error

    def replaced(self, written: object, by: dict[Any, Any]) -> dict[Any, Any]:
        """A mapping that takes the place of one that was written: its keys stand on the lines of that one's."""
        if id(written) in self._known:
            path, node, _ = self._known[id(written)]
            self._known[id(by)] = (path, node, by)
        return by

    def line(self, value: object, location: Sequence[int | str], otherwise: Path) -> Line:
        """The line of a key or an item inside a value; of the nearest one around it, where the place itself is missing.

        `otherwise` is the file to name where nothing on the way to the place was written in any.
        """
        shown = self._line_of(value) or Line(str(otherwise), 1)
        for part in location:
            shown = self._line_of_part(value, part) or shown
            try:
                value = value[part]  # type: ignore[index]
            except (LookupError, TypeError):
                break
        return shown

    def _line_of(self, value: object) -> Line | None:
        if id(value) not in self._known:
            return None
        path, node, _ = self._known[id(value)]
        return Line(str(path), node.start_mark.line + 1)

    def _line_of_part(self, value: object, part: int | str) -> Line | None:
        path, node, _ = self._known.get(id(value), (None, None, None))
        if isinstance(node, MappingNode):
            keys = (key for key, _ in node.value if key.value == part)
            found = next(keys, None)
            return Line(str(path), found.start_mark.line + 1) if found is not None else None
        if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            return Line(str(path), node.value[part].start_mark.line + 1)
        # A list or mapping that was put together; what stands in it may know its line.
        inner = value[part] if isinstance(value, dict | list) and _has(value, part) else None  # type: ignore[index]
        return self._line_of(inner)


def _has(value: dict[Any, Any] | list[Any], part: int | str) -> bool:
    return part in value if isinstance(value, dict) else isinstance(part, int) and part < len(value)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Failure(f"{path} is larger than {_MAX_BYTES:,} bytes: no policy is")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 text", str(error), "Save it as UTF-8.") from error
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", fix="Check the path.") from error
    except ValueError as error:
        raise Failure(f"{str(path)!r} is no path of a file: {error}", fix="Check the path.") from error
    # JSON may be indented with tabs, which YAML refuses; inside its strings there are none.
    return text.replace("\t", " ") if path.suffix.lower() == ".json" else text


def _refuse_depth(path: Path, text: str, loader: Any) -> None:
    """Refuse what is nested as no policy is: composing it recurses, and libyaml ends the process when the stack does."""
    depth = 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            line = f":{event.start_mark.line + 1}" if event.start_mark else ""
            raise Failure(f"{path}{line}: nested more than {_MAX_DEPTH} deep: no policy is", fix=_CORRECT)


def _refuse_ambiguity(path: Path, node: Node, sizes: dict[int, int]) -> int:
    """Refuse what a YAML parser settles silently: keys given twice, and keys without a value.

    Returns how many values a node stands for: an alias stands for all that its anchor does, again.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    # Until it is known. A node that holds itself is refused when the document is built.
    sizes[id(node)] = 1
    if isinstance(node, SequenceNode):
        sizes[id(node)] += sum(_refuse_ambiguity(path, item, sizes) for item in node.value)
    elif isinstance(node, MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise Failure(f"{path}:{line}: a key is plain text, no list and no mapping", fix=_CORRECT)
            if key.value in keys:
                raise Failure(f"{path}:{line}: {key.value}: the key is given twice", fix="Keep one of them.")
            keys.add(key.value)
            if value.value in _NOTHING and not getattr(value, "style", None):
                raise Failure(f"{path}:{line}: {key.value}: the key has no value", fix="Give it one, or leave the key out.")
            sizes[id(node)] += _refuse_ambiguity(path, value, sizes)
    return sizes[id(node)]
