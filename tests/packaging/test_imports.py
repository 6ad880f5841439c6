"""The imports run one way, tasks stand alone, and `import nlptk` stays light."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

# each layer may import itself and those above it; a module that is new to nlptk/ gets its place here
LAYERS = (
    ("errors", "nearest", "faults", "hub", "batches", "task", "environment"),
    ("recipe", "registry", "strategies.contract"),
    ("data", "metrics", "artifact", "report", "named_checkpoints", "checkpoints", "parts", "samples"),
    ("strategies", "training", "text", "fewshot"),
    ("pipelines", "compress", "runtime"),
    ("release", "monitor"),
    (
        "listing",
        "preflight",
        "support",
        "api",
        "cli",
        "cli_words",
        "cli_few_shot",
        "",
        "__main__",
    ),  # "" is nlptk/__init__.py
)
TASK_MAY_IMPORT = {"batches", "errors", "metrics", "parts", "report", "task", "__main__"}  # the last as a script
LIGHT = ("torch", "transformers", "datasets")


def folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def module_files(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of a package."""
    folder = folder_of(package)
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts))), path


MODULES = [*module_files("nlptk"), *module_files("nlptk_tasks")]
NAMES = {name for name, _ in MODULES}
of_nlptk = pytest.mark.parametrize(
    ("name", "path"), [pytest.param(*m, id=m[0]) for m in MODULES if m[0].split(".")[0] == "nlptk"]
)
of_tasks = pytest.mark.parametrize(
    ("name", "path"), [pytest.param(*m, id=m[0]) for m in MODULES if m[0].startswith("nlptk_tasks.")]
)


def imported(name: str, path: Path) -> set[str]:
    """Everything a module imports, at whatever depth of the code: modules by their dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: relative import; write the full name"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & NAMES
            if not inner <= NAMES:  # something other than a submodule is taken: the package itself is needed
                found.add(node.module)
    return found


def layer_of(module: str) -> int:
    """Layer of `nlptk.x.y`: that of the longest prefix which has one."""
    inner = module.removeprefix("nlptk").removeprefix(".")
    for size in range(inner.count(".") + 1, 0, -1):
        prefix = ".".join(inner.split(".")[:size])
        for number, names in enumerate(LAYERS):
            if prefix in names:
                return number
    raise AssertionError(f"{module} has no layer; add it to LAYERS, on purpose")


@of_nlptk
def test_module_imports_only_its_own_layer_and_lower_ones(name: str, path: Path) -> None:
    own = [other for other in imported(name, path) if other.split(".")[0] == "nlptk"]
    assert [other for other in own if layer_of(other) > layer_of(name)] == []


@of_nlptk
def test_nlptk_imports_no_task_by_name(name: str, path: Path) -> None:
    assert [other for other in imported(name, path) if other.split(".")[0] in {"nlptk_tasks", "tasks"}] == []


@of_tasks
def test_task_stands_alone(name: str, path: Path) -> None:
    allowed = {f"nlptk.{module}" for module in TASK_MAY_IMPORT}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # what a file does as a script (`if __name__ == "__main__"`) is the command line's, not the task's
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    outside = {
        other
        for other in imported_from(tree)
        if other.split(".")[0] in {"nlptk", "nlptk_tasks", "tasks"} and ".".join(other.split(".")[:2]) not in allowed
    }
    assert outside == set()


def imported_from(tree: ast.AST) -> set[str]:
    """Like `imported`, for a part of a file; `from nlptk import task` counts as `nlptk.task`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_task_file_bears_the_name_of_an_installed_module() -> None:
    # run as a script, a file puts its own folder first on sys.path, and would hide the module of its name
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) - {"nlptk", "nlptk_tasks"}
    names = {path.stem for path in folder_of("nlptk_tasks").glob("*.py")} - {"__init__"}
    assert names & taken == set()


def test_every_library_imported_is_a_declared_dependency() -> None:
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {normalized(line) for line in [*project["dependencies"], *extras]}
    distributions = packages_distributions()
    missing = {
        f"{name}: {top}"
        for name, path in MODULES
        for top in {other.split(".")[0] for other in imported(name, path)}
        if top not in sys.stdlib_module_names
        and top not in {"nlptk", "nlptk_tasks"}
        and not {normalized(found) for found in distributions.get(top, [])} & declared
    }
    assert missing == set()


def normalized(requirement: str) -> str:
    name = requirement
    for mark in "<>=!~[; ":
        name = name.split(mark)[0]
    return name.lower().replace("_", "-").replace(".", "-")


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy libraries a fresh interpreter has loaded after running a statement."""
    code = "import sys\ntry:\n    " + statement + "\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    code += f"print('LOADED', *[name for name in {LIGHT!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_nlptk_loads_no_heavy_library() -> None:
    assert loaded_by("import nlptk, nlptk.samples") == set()


@pytest.mark.skipif(importlib.util.find_spec("nlptk.__main__") is None, reason="needs nlptk/__main__.py")
def test_command_help_loads_no_heavy_library() -> None:
    assert loaded_by("sys.argv = ['nlptk', '--help']; import nlptk.__main__ as m; m.main()") == set()
