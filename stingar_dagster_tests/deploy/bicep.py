"""Bicep files as data: what they declare, with literals as Python values and the rest as text.

Parsed by tree-sitter; no Bicep compiler can be had from pip. Here: reading. Not here: what must
hold (`test_bicep`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

tree_sitter = pytest.importorskip("tree_sitter", reason="pip install '.[test]' brings tree-sitter")
_grammar = pytest.importorskip("tree_sitter_bicep", reason="pip install '.[test]' brings it")

AZURE: Final = Path(__file__).parents[2] / "deploy" / "azure"
_PARSER: Final = tree_sitter.Parser(tree_sitter.Language(_grammar.language()))


class Expression(str):
    """The text of what has to be computed."""


@dataclass
class Parameter:
    """A `param`: its default is None where it has to be given."""

    description: str | None
    default: Any
    is_required: bool
    is_secure: bool
    allowed: list[Any] | None


@dataclass
class Resource:
    """A `resource` or `module`; `type` is a module's path.

    Attributes:
        condition: the text behind `if`.
        each: the loop's variables and what it runs over, as text.
    """

    symbol: str
    type: str
    existing: bool
    condition: str | None
    each: tuple[str, str] | None
    body: dict[str, Any]

    def at(self, path: str) -> Any:
        """A value by its path with dots; None where there is none."""
        value: Any = self.body
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


@dataclass
class Bicep:
    """One file."""

    name: str
    text: str
    broken: list[str]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    modules: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    undeclared: set[str] = field(default_factory=set)


def parse(text: str, name: str = "main.bicep") -> Bicep:
    """What a file declares; `broken` tells the places that are no Bicep."""
    root = _PARSER.parse(text.encode()).root_node
    file = Bicep(name, text, [_place(node) for node in _walk(root) if _is_broken(node)])
    decorators: list[Any] = []
    for node in root.named_children:
        if node.type == "decorators":
            decorators = node.named_children
            continue
        _declare(file, node, decorators)
        decorators = []
    file.undeclared = _undeclared(file, root)
    return file


def load_all() -> dict[str, Bicep]:
    """Every Bicep file of the deployment, by its path below deploy/azure."""
    return {
        path.relative_to(AZURE).as_posix(): parse(
            path.read_text(), path.relative_to(AZURE).as_posix()
        )
        for path in sorted(AZURE.rglob("*.bicep"))
    }


def _declare(file: Bicep, node: Any, decorators: list[Any]) -> None:
    if node.type == "parameter_declaration":
        name, _type, *default = node.named_children
        told = dict(_decorator(decorator) for decorator in decorators)
        file.parameters[_text(name)] = Parameter(
            told.get("description"),
            _value(default[0]) if default else None,
            not default,
            "secure" in told,
            told.get("allowed"),
        )
    elif node.type == "variable_declaration":
        name, value = node.named_children
        file.variables[_text(name)] = _value(value)
    elif node.type == "output_declaration":
        file.outputs[_text(node.named_children[0])] = _value(node.named_children[-1])
    elif node.type in ("resource_declaration", "module_declaration"):
        resource = _resource(node)
        (file.modules if node.type.startswith("module") else file.resources).append(resource)


def _resource(node: Any) -> Resource:
    symbol, kind, rest = node.named_children[0], node.named_children[1], node.named_children[-1]
    condition = each = None
    if rest.type == "for_statement":
        *variables, over, rest = [c for c in rest.named_children if c.type != "comment"]
        each = (" ".join(_text(v) for v in variables), _text(over))
    if rest.type == "if_statement":
        condition, rest = _text(rest.named_children[0])[1:-1], rest.named_children[-1]
    existing = any(child.type == "existing" for child in node.children)
    return Resource(_text(symbol), _value(kind), existing, condition, each, _value(rest))


def _decorator(node: Any) -> tuple[str, Any]:
    call = node.named_children[0]
    arguments = call.named_children[1].named_children
    return _text(call.named_children[0]), _value(arguments[0]) if arguments else None


def _value(node: Any) -> Any:
    children = [child for child in node.named_children if child.type != "comment"]
    if node.type == "string":
        text = _text(node)
        quotes = 3 if text.startswith("'''") else 1
        literal = all(child.type in _LITERAL for child in children)
        return (str if literal else Expression)(text[quotes:-quotes])
    if node.type == "number":
        return int(_text(node))
    if node.type == "boolean":
        return _text(node) == "true"
    if node.type == "array" and all(c.type != "for_statement" for c in children):
        return [_value(child) for child in children]
    if node.type == "object":
        return {_key(c): _value(c.named_children[-1]) for c in children}
    return Expression(" ".join(_text(node).split()))


_LITERAL: Final = ("string_content", "escape_sequence")
_SCOPES: Final = frozenset(
    ("az", "sys", "subscription", "resourceGroup", "tenant", "deployment", "environment")
)
_FUNCTIONS: Final = frozenset(
    (
        "concat", "empty", "guid", "json", "max", "replace", "string", "subscriptionResourceId",
        "take", "union", "uniqueString",
    )
)  # fmt: skip


def _key(node: Any) -> str:
    return _text(node.named_children[0]).strip("'")


def _undeclared(file: Bicep, root: Any) -> set[str]:
    """Names that are used and declared nowhere: a compiler's first complaint."""
    known = {*file.parameters, *file.variables, *_SCOPES, *_FUNCTIONS}
    known |= {resource.symbol for resource in (*file.resources, *file.modules)}
    used = set()
    for node in _walk(root):
        if node.type == "for_statement":
            known |= {_text(child) for child in node.named_children[:-2]}
            for child in node.named_children:
                if child.type == "for_loop_parameters":
                    known |= {_text(name) for name in child.named_children}
        if node.type != "identifier":
            continue
        if not _is_name(node) and not any(up.type == "decorator" for up in _ancestors(node)):
            used.add(_text(node))
    return used - known


def _is_name(node: Any) -> bool:
    """Whether an identifier gives a name to something, rather than using one."""
    parent = node.parent
    gives = parent.type == "object_property" or parent.type.endswith("_declaration")
    return bool(gives and parent.named_children[0] == node)


def _ancestors(node: Any) -> Iterator[Any]:
    while node.parent is not None:
        node = node.parent
        yield node


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _is_broken(node: Any) -> bool:
    return bool(node.type == "ERROR" or node.is_missing)


def _place(node: Any) -> str:
    return f"line {node.start_point[0] + 1}: {_text(node)[:60]!r}"


def _text(node: Any) -> str:
    return str(node.text.decode())
