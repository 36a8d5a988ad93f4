"""Name -> file -> class, for baselines and tasks. Listing reads source text and imports nothing.

A built-in is a file of ``baselines/`` or ``tasks/``: its stem is the name, its class the stem in
CamelCase, and files that start with an underscore are helpers. Installed packages add names
through the entry-point groups ``slt_bench.baselines`` and ``slt_bench.tasks``. A file
(``./mine.py`` or ``./mine.py:MyLayer``) or an installed class (``torch.nn:Linear``) works wherever
a name does, and is named by its class.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal

import slt_bench
from slt_bench.errors import UsageError, unknown

Kind = Literal["baselines", "tasks"]
_SINGULAR = {"baselines": "baseline", "tasks": "task"}


@dataclass(frozen=True)
class Entry:
    """Where a baseline or a task lives; ``source`` is ``path/to/file.py:Class`` or
    ``module:Class``."""

    kind: Kind
    name: str
    source: str
    builtin: bool = False

    @property
    def path(self) -> Path | None:
        """The file that defines the class, or None for an installed class."""
        file = self.source.rpartition(":")[0]
        return Path(file) if file.endswith(".py") else None


def folder(name: str) -> Path:
    """A folder that stands beside the package in a checkout and inside it in a wheel."""
    for root in slt_bench.__path__:
        if (found := Path(root) / name).is_dir():
            return found
    raise UsageError(f"the installation is incomplete: no folder {name!r} in slt_bench")


def camel_case(stem: str) -> str:
    return "".join(part.capitalize() for part in stem.split("_"))


def snake_case(name: str) -> str:
    """The inverse of camel_case, up to the case of acronyms: MyLSTMCell -> my_lstm_cell."""
    out = ""
    for i, letter in enumerate(name):
        after_lower = i > 0 and not name[i - 1].isupper()
        before_lower = i + 1 < len(name) and name[i + 1].islower()
        if letter.isupper() and i > 0 and name[i - 1] != "_" and (after_lower or before_lower):
            out += "_"
        out += letter.lower()
    return out


def entries(kind: Kind) -> dict[str, Entry]:
    """Every built-in and installed baseline or task, by name."""
    found = {
        path.stem: Entry(kind, path.stem, f"{path}:{camel_case(path.stem)}", builtin=True)
        for path in sorted(folder(kind).glob("*.py"))
        if not path.stem.startswith("_")
    }
    for point in _installed(kind):
        if point.name in found:
            raise UsageError(
                f"the installed {_SINGULAR[kind]} {point.name!r} ({point.value}) takes a name "
                "that already exists: rename its entry point"
            )
        found[point.name] = Entry(kind, point.name, point.value)
    return found


@cache
def _installed(kind: Kind) -> tuple[EntryPoint, ...]:
    """Scanned once: looking through all installed packages takes some 10 ms."""
    return tuple(entry_points(group=f"slt_bench.{kind}"))


def resolve(kind: Kind, reference: str) -> Entry:
    """The entry behind a name, ``FILE.py[:Class]`` or ``package.module:Class``.

    Raises UsageError where there is none, or where its class takes a name that is already used.
    """
    known = entries(kind)
    if reference in known:
        return known[reference]
    head, colon, class_name = reference.rpartition(":")
    if reference.endswith(".py"):
        head, colon, class_name = reference, ":", _only_class(Path(reference))
    if not colon:
        raise unknown(_SINGULAR[kind], reference, known)
    if head.endswith(".py"):
        path = Path(head).expanduser().resolve()
        if not path.is_file():
            raise _no_file(head)
        head = str(path)
    source = f"{head}:{class_name}"
    for entry in known.values():
        if source == entry.source:
            return entry
        if entry.name == snake_case(class_name):
            raise UsageError(
                f"the class {class_name!r} of {reference!r} takes the name of the "
                f"{_SINGULAR[kind]} {entry.name!r}: rename the class"
            )
    return Entry(kind, class_name, source)


def _no_file(path: str) -> UsageError:
    return UsageError(f"no file {path!r}: give FILE.py:Class with a path that exists")


def _only_class(path: Path) -> str:
    """The class of a file given without one: the stem in CamelCase, else its only public class."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _no_file(str(path)) from None
    except SyntaxError as error:
        raise UsageError(f"{path} is not valid Python: {error}") from None
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [name for name in classes if not name.startswith("_")]
    if camel_case(path.stem) in public:
        return camel_case(path.stem)
    if len(public) == 1:
        return public[0]
    raise UsageError(f"{path.name} defines {public or 'no class'}: name one as {path.name}:Class")


@cache
def _load(source: str) -> type[Any]:
    head, _, class_name = source.rpartition(":")
    if not head.endswith(".py"):
        try:
            module = import_module(head)
        except ImportError as error:
            raise UsageError(f"cannot import {head!r}: {error}") from None
    else:
        path = Path(head)
        for kind in ("baselines", "tasks"):
            if path.parent == folder(kind):
                module = import_module(f"slt_bench.{kind}.{path.stem}")
                break
        else:
            # A stable module name lets pickle find the class again in the same process.
            name = f"slt_bench_plugin_{path.stem}_{hashlib.sha256(head.encode()).hexdigest()[:8]}"
            spec = spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[name] = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception as error:
                del sys.modules[name]
                raise UsageError(
                    f"{path.name} fails on import: {type(error).__name__}: {error}"
                ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UsageError(f"{head} has no class {class_name!r}")
    return found


def load(kind: Kind, reference: str) -> type[Any]:
    """The class behind a name, a file or an installed class; see :func:`resolve`."""
    return _load(resolve(kind, reference).source)


def load_baseline(reference: str) -> type[Any]:
    """The ``nn.Module`` class of a baseline, by name, ``FILE.py:Class`` or ``module:Class``."""
    return load("baselines", reference)


def load_task(reference: str) -> type[Any]:
    """The :class:`slt_bench.task.Task` class, by name, ``FILE.py:Class`` or ``module:Class``."""
    return load("tasks", reference)


def describe(entry: Entry) -> tuple[str, dict[str, Any]]:
    """First line of a class's docstring and its literal class attributes, read without import."""
    if entry.path is None:
        return entry.source, {}
    class_name = entry.source.rpartition(":")[2]
    for node in ast.parse(entry.path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            line = (ast.get_docstring(node) or "").partition("\n")[0]
            return line, dict(_literals(node))
    return "", {}


def _literals(node: ast.ClassDef) -> list[tuple[str, Any]]:
    found = []
    for item in node.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = getattr(item, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            try:
                found.append((target.id, ast.literal_eval(value)))
            except ValueError:
                continue
    return found


def settings_of(baseline: type[Any]) -> dict[str, Any]:
    """A baseline's settings and their defaults: what follows the two sizes and the bias."""
    parameters = list(inspect.signature(baseline).parameters.values())
    return {
        p.name: None if p.default is p.empty else p.default
        for p in parameters[2:]
        if p.name not in ("bias", "device", "dtype")
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def is_control(baseline: type[Any]) -> bool:
    """True for a baseline that says what structure is worth: ``control = True`` in its class."""
    return bool(getattr(baseline, "control", False))


def without_controls() -> list[str]:
    """The names of all baselines that are no controls; dense is one of them."""
    return [name for name in entries("baselines") if not is_control(load_baseline(name))]


def changed_settings(baseline: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``settings`` that are not the baseline's defaults: what a record keeps."""
    defaults = settings_of(baseline)
    return {name: value for name, value in settings.items() if value != defaults.get(name)}


def source_digest(cls: type[Any]) -> str:
    """sha256 of the syntax trees behind a class: its file, those of the classes it inherits from
    (torch's and Python's own aside), and the helpers that they import from their own folders.

    Comments, docstrings, layout and compiled kernels (``*_kernel``, which tests hold to the
    formula) do not count: only an edited formula changes the digest.
    """
    paths = []
    for each in cls.__mro__:
        if each is not cls and each.__module__.startswith(_FOREIGN):
            continue
        try:
            path = inspect.getsourcefile(each)
        except TypeError:
            path = None
        if path is None:
            name = f"{cls.__module__}.{cls.__qualname__}"
            return hashlib.sha256(name.encode()).hexdigest()
        paths.append(Path(path))
    return _tree_digest(tuple(dict.fromkeys(paths)))


#: Their code is named by its version in the record. Classes of the harness are its contracts.
_FOREIGN = ("torch.", "builtins", "abc", "typing", "slt_bench.task")


@cache
def _tree_digest(paths: tuple[Path, ...]) -> str:
    files: dict[Path, str] = {}
    pending = list(paths)
    while pending:
        file = pending.pop()
        if file in files:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        files[file] = _shape(_without_docstrings(tree))
        pending += _helpers(tree, file)
    text = "\n".join(sorted(f"{file.stem}\n{tree}" for file, tree in files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _shape(node: object) -> str:
    """A syntax tree as text that is the same under every Python version (``ast.dump`` is not)."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{n}={_shape(v)}' for n, v in fields)})"
    return f"[{','.join(map(_shape, node))}]" if isinstance(node, list) else repr(node)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree


def _helpers(tree: ast.Module, file: Path) -> list[Path]:
    """Files beside ``file`` that it imports; in baselines/ and tasks/ the underscored ones."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    built_in = file.parent in (folder("baselines"), folder("tasks"))
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return [
        path
        for name in sorted(names)
        if not installed
        and not name.endswith("_kernel")
        and (not built_in or name.startswith("_"))
        and (path := file.parent / f"{name}.py").is_file()
    ]
