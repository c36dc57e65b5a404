"""A hash of a user's module and of the modules beside it that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping

_DYNAMIC = {"__import__", "exec", "import_module", "run_module", "run_path", "spec_from_file_location"}


def fingerprint(module: str, sources: Mapping[str, bytes]) -> str:
    """SHA-256, in hex, over the names and contents of what a module consists of.

    That is its own file first, so that two modules of a folder never have the same hash, and those beside it that it
    imports, directly or through another one; a file beside it that it does not import changes nothing.

    Args:
        module: The file name of the module.
        sources: Contents of the files of its folder by file name.
    """
    digest = hashlib.sha256()
    for name in (module, *sorted(imported_files(module, sources) - {module})):
        for part in (name.encode(), sources.get(name, b"")):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def imported_files(module: str, sources: Mapping[str, bytes]) -> set[str]:
    """The files of a folder that a module imports, itself among them.

    All of them where one imports by a name that is known only when it runs, or cannot be parsed.
    """
    found, left = {module}, [module]
    while left:
        names = _imported_names(sources.get(left.pop(), b""))
        if names is None:
            return {module, *sources}
        new = {file for name in names if (file := f"{name}.py") in sources} - found
        found |= new
        left += new
    return found


def _imported_names(source: bytes) -> set[str] | None:
    """First parts of the names of the modules that a source imports anywhere; None where that cannot be told."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module] if node.module else [alias.name for alias in node.names]  # `from . import name`
            names.update(name.partition(".")[0] for name in imported)
        if _is_dynamic(node):
            return None
    return names


def _is_dynamic(node: ast.AST) -> bool:
    """Whether a node uses a function that imports or runs code by a name or path that is an argument."""
    if isinstance(node, ast.ImportFrom):
        return any(alias.name in _DYNAMIC for alias in node.names)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
    return name in _DYNAMIC
