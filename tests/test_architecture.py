"""The house stays as it was drawn: imports point down, heavy imports wait, names of machines stay out."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "peft", "safetensors", "model", "tokenizers", "huggingface_hub"}
SUBCLASSES = ROOT / "mplus_cli" / "evaluation" / "product.py"  # its classes are the model room's methods
LONGEST_FILE = 400


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, top_level: bool) -> Iterator[str]:
    """Modules that a file imports; at top level, what only a type checker imports does not count."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif top_level and isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from (m for part in node.body if isinstance(part, ast.ImportFrom) and (m := part.module))


def graph(package: str) -> dict[str, set[str]]:
    modules = {name_of(path): path for path in sources(package)}
    packages = {name for name in modules if any(other.startswith(f"{name}.") for other in modules)}
    below = {name: {one for one in imports(path, True) if one in modules} - {name} for name, path in modules.items()}
    return {name: found - packages for name, found in below.items() if name not in packages}


def test_the_model_never_imports_the_command_line():
    for path in sources("model"):
        assert not [one for one in imports(path, False) if one.split(".")[0] == "mplus_cli"], path


@pytest.mark.parametrize("package", ["model", "mplus_cli"])
def test_imports_run_in_no_circle(package):
    below = graph(package)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in below[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_heavy_packages_are_imported_inside_functions_of_the_command_line():
    for path in sources("mplus_cli"):
        assert name_of(SUBCLASSES) not in imports(path, True), f"{path.name} would load torch through it"
        if path == SUBCLASSES:
            continue
        # the package `model` itself loads nothing, its modules load torch
        heavy = [one for one in imports(path, True) if one.split(".")[0] in HEAVY and one != "model"]
        assert not heavy, f"{path.name}: {heavy}"


ROOMS = ["errors", "documents", "library", "assistant", "commands"]


def test_rooms_import_only_what_lies_below_them():
    for path in sources("mplus_cli"):
        parts = path.relative_to(ROOT / "mplus_cli").parts
        room = parts[0].removesuffix(".py")
        if room not in ROOMS:
            continue
        above = ROOMS[ROOMS.index(room) + 1 :]
        for one in imports(path, False):
            pieces = one.split(".")
            assert not (pieces[0] == "mplus_cli" and len(pieces) > 1 and pieces[1] in above), f"{path}: {one}"


@pytest.mark.parametrize("arguments", [["--help"], ["library", "list"]])
def test_quick_commands_never_load_torch(arguments, tmp_path):
    code = (
        "import sys, contextlib, io\nfrom mplus_cli.main import run\n"
        f"sys.argv = ['mplus', *{arguments!r}]\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    run()\n"
        "loaded = {'torch', 'transformers', 'numpy'} & set(sys.modules)\nassert not loaded, loaded"
    )
    environment = {"MPLUS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment, timeout=60)


@pytest.mark.parametrize(
    ("given", "found"), [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_of_torch_do_not_wait_in_a_long_loop_unless_told_to(given, found):
    code = "import os, sys, mplus_cli; print(os.environ.get('GOMP_SPINCOUNT')); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env=given, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(found)


def test_nothing_is_unpickled():
    for path in [*sources("model"), *sources("mplus_cli")]:
        calls = re.findall(
            r"torch\.load\(|pickle\.loads?\(|import pickle|trust_remote_code=True", path.read_text("utf-8")
        )
        assert not calls, path


def test_no_file_outgrows_its_room():
    for path in [*sources("model"), *sources("mplus_cli")]:
        lines = len(path.read_text("utf-8").splitlines())
        assert lines <= LONGEST_FILE, f"{path.name} has {lines} lines"


def test_every_public_function_says_what_it_does():
    for path in [*sources("model"), *sources("mplus_cli")]:
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree) or not tree.body, path
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or is_small(node), f"{path.name}: {node.name}"


def is_small(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A function whose name, types and few lines say everything."""
    return isinstance(node, ast.FunctionDef) and node.returns is not None and len(ast.unparse(node).splitlines()) <= 12


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_no_tracked_text_names_a_machine():
    pattern = re.compile("/" + "work/|/" + "root/|re" + "gistry\\.npm|artif" + "actory", re.IGNORECASE)
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".sh", ".json", ".txt", ""} and path != Path(__file__):
            found = pattern.search(path.read_text("utf-8", "replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_every_page_of_the_docs_is_listed_in_the_index():
    index = (ROOT / "docs/index.md").read_text("utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "index.md" or page.name in index, page.name


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_changelog_begins_with_this_version():
    from mplus_cli import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[?([0-9.]+)", changelog, re.MULTILINE).group(1) == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")
