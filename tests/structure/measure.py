"""Figures of the structure of the code: files, lines, arrows between files, long functions.

    python -m tests.structure.measure [FOLDER]

prints one table for the checkout in FOLDER (default: this one). An arrow is a pair of files of one
package of which the first imports the second, also inside a function.
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hybrid_lmu", "training", "evaluation", "tests")
LONG = 60


@dataclass(frozen=True)
class Function:
    """A function: number of lines, of lines without its docstring, and of arguments."""

    name: str
    file: str
    lines: int
    body_lines: int
    arguments: int


def sources(root: Path, package: str) -> dict[str, ast.Module]:
    """Return ``{module name: syntax tree}`` of the Python files of a package."""
    files = sorted((root / package).rglob("*.py"))
    return {_module(root, file): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imports(module: str, tree: ast.Module) -> set[str]:
    """Return the names that a module imports, ``package.module`` or ``package.module.name``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def arrows(modules: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Return the pairs ``(importing module, imported module)`` within `modules`.

    A module that imports a name which a package's ``__init__`` passes on points at that package.
    """
    found = set()
    for module, tree in modules.items():
        found |= {(module, name) for name in imports(module, tree) if name in modules}
    # ``from package.module import name`` names the package too; the module is what counts.
    deeper = {(a, b.rpartition(".")[0]) for a, b in found}
    return {
        (a, b) for a, b in found if a != b and ((a, b) not in deeper or _is_file(a, b, modules))
    }


def circle(pairs: set[tuple[str, str]]) -> list[str]:
    """Return one circle of imports as a list of modules, or an empty list."""
    following = {}
    for a, b in pairs:
        following.setdefault(a, set()).add(b)
    done, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for other in sorted(following.get(module, ())):
            found = visit(other)
            if found:
                return found
        path.pop()
        done.add(module)
        return []

    return next((found for module in sorted(following) if (found := visit(module))), [])


def functions(modules: dict[str, ast.Module]) -> list[Function]:
    """Return all functions and methods, without those inside functions."""
    found = []
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([a for a in arguments if a.arg not in ("self", "cls")])
                lines = node.end_lineno - node.lineno + 1
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                words = first.end_lineno - first.lineno + 1 if documented else 0
                found.append(Function(node.name, module, lines, lines - words, count))
    return found


def table(root: Path) -> str:
    """Return the figures of the checkout in `root` as text."""
    rows = [("package", "files", "lines", "longest file", "arrows", "circle", f"over {LONG}")]
    longest = None
    for package in PACKAGES:
        modules = sources(root, package)
        lines = [len(f.read_text().splitlines()) for f in (root / package).rglob("*.py")]
        made = functions(modules)
        over = sum(f.lines > LONG for f in made)
        pairs = arrows(modules)
        ring = "yes" if circle(pairs) else "no"
        rows.append((package, len(lines), sum(lines), max(lines), len(pairs), ring, over))
        constructors = [f for f in made if f.name == "__init__" and package != "tests"]
        longest = max([*constructors, *filter(None, [longest])], key=lambda f: f.lines)
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    text = ["  ".join(str(c).rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        [*text, f"longest constructor: {longest.lines} lines, {longest.arguments} arguments, "
         f"{longest.file}"]
    )  # fmt: skip


def _module(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_file(a: str, b: str, modules: dict) -> bool:
    """Whether module `a` imports something of `b` itself, and not a module inside `b`."""
    names = imports(a, modules[a])
    wanted = {name for name in names if name.rpartition(".")[0] == b}
    return any(name not in modules for name in wanted)


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
