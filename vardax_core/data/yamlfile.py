"""YAML as people mean it; what two versions of the language read differently is refused."""

import re
from collections.abc import Hashable
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

_MAP = "tag:yaml.org,2002:map"
_MERGE = "tag:yaml.org,2002:merge"
_AMBIGUOUS = "tag:vardax,2026:ambiguous"
_DEEPEST = 50

_SURPRISES: tuple[tuple[str, str], ...] = (
    (r"(?i:yes|no|on|off)", "a truth value in one version of YAML and a word in another"),
    (r"[-+]?0[0-9_]+", "a number in base eight in one version of YAML and in base ten in another"),
    (r"[-+]?0[ob][0-9a-fA-F_]+", "a number in one version of YAML and a word in another"),
    (
        r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?",
        "a number in base sixty in one version of YAML and a word in another",
    ),
    (
        r"[-+]?(0x[0-9a-fA-F_]*_[0-9a-fA-F_]*|[0-9.][0-9.]*_[0-9_.]*([eE][-+]?[0-9]+)?)",
        "a number in one version of YAML and a word in another",
    ),
    (r"[-+]?0[0-9]+(\.[0-9]*)([eE][-+]?[0-9]+)?", "a number that begins with zeros"),
    (r"=", "a special value in one version of YAML"),
)
_PATTERNS = tuple((re.compile(pattern), what) for pattern, what in _SURPRISES)


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    The plain scalars are those of YAML's core schema, in base ten: instants and durations stay
    text, and a word is a word.

    Raises:
        yaml.YAMLError: naming line and column, also for a key that is given twice, for a scalar
            that two versions of YAML read differently (`020`, `yes`, `12:30`, `1_000`), for a tag
            and for what is nested deeper than a person would write.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """The loader behind `read_yaml`."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def __init__(self, stream: str):
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            mark = self.peek_event().start_mark
            raise ConstructorError(None, None, f"nested deeper than {_DEEPEST} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            self._refuse_repeated_keys(node)
        return super().construct_mapping(node, deep)

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            name = self.construct_object(key, deep=True) if key.tag != _MERGE else "<<"
            if not isinstance(name, Hashable):
                continue  # the base class refuses it
            if name in lines:
                raise ConstructorError(
                    None,
                    None,
                    f"the key {name!r} is given twice, first in line {lines[name] + 1}; keep one",
                    key.start_mark,
                )
            lines[name] = key.start_mark.line


def _ambiguous(loader: _Loader, node: yaml.ScalarNode) -> None:
    what = next(what for pattern, what in _PATTERNS if pattern.fullmatch(node.value))
    raise ConstructorError(
        None,
        None,
        f"{node.value} is {what}; write what is meant: a number in base ten without zeros before "
        f"it and without underscores, true or false, or text in quotes ('{node.value}')",
        node.start_mark,
    )


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    try:
        return int(text, 16) if "0x" in text else int(text)
    except ValueError as error:
        raise ConstructorError(
            None, None, f"not a whole number: {error}", node.start_mark
        ) from error


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _truth(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return bool(loader.construct_scalar(node).lower() == "true")


def _refused_tag(loader: _Loader, node: yaml.Node) -> None:
    raise ConstructorError(
        None, None, f"a tag ({node.tag}) is not understood; leave it out", node.start_mark
    )


_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
for _kind, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), _first
    )
_Loader.add_implicit_resolver(
    _AMBIGUOUS,
    re.compile(f"(?:{'|'.join(pattern for pattern, _ in _SURPRISES)})\\Z"),
    list("-+.0123456789yYnNoO="),
)
for _tag, _made in (
    ("tag:yaml.org,2002:int", _integer),
    ("tag:yaml.org,2002:float", _number),
    ("tag:yaml.org,2002:bool", _truth),
    (_AMBIGUOUS, _ambiguous),
    (None, _refused_tag),
):
    _Loader.add_constructor(_tag, _made)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `read_yaml` would read as something else, or refuse."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = _Loader.yaml_implicit_resolvers


def write_yaml(value: Any) -> str:
    """Write what `read_yaml` reads back as it is."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text
