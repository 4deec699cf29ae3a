"""Who may import whom, held against the source itself; a module that stands in no row is a question to its author."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "testbed"
FACES = {"cli", "pytest_plugin", "__main__"}
"""They may import anything but another face, and nothing imports them."""

TABLE = re.compile(r"^\| `(\w+)` \|[^|]+\|([^|]*)\|$", re.M)
ALLOWED: dict[str, set[str]] = {
    name: {word.strip() for word in imports.split(",") if word.strip()}
    for name, imports in TABLE.findall((ROOT / "ARCHITECTURE.md").read_text())
}
"""Folder -> the folders beside it that it may import, as ARCHITECTURE.md says."""

FILES = sorted(PACKAGE.rglob("*.py"))
INSIDE = [
    *PACKAGE.rglob("agent.py"),
    *PACKAGE.rglob("protocol.py"),
    PACKAGE / "engine" / "messages.py",
    *(PACKAGE / "exchanges").glob("[a-z]*.py"),
]
"""What is copied into a container: there is no testbed package there."""
IMPLEMENTATIONS = sorted(p.name for p in (ROOT / "images").iterdir() if p.is_dir() and not p.name.startswith(("_", ".")))


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file; ``from testbed import x`` counts as ``testbed.x``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what is imported"
            assert node.module
            found |= {f"testbed.{alias.name}" for alias in node.names} if node.module == "testbed" else {node.module}
    return found


def local(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("testbed.")} - {"__version__", "ROOT"}


ACTING, JUDGING = {"plan", "engine", "measure", "contract"}, {"judge", "report", "compare"}


def test_the_halves_meet_only_in_the_record() -> None:
    assert not {(j, a) for j in JUDGING for a in ALLOWED[j] & ACTING}
    assert not {(a, j) for a in ACTING for j in ALLOWED[a] & JUDGING}


def test_every_module_stands_in_the_table() -> None:
    assert {module_of(p) for p in FILES} - {"__init__"} - FACES <= set(ALLOWED), "a new module: say here what it may import"
    assert {name for names in ALLOWED.values() for name in names} <= {module_of(p) for p in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_row_allows(path: Path) -> None:
    module = module_of(path)
    if module in FACES:
        return
    beyond = local(path) - ALLOWED.get(module, set()) - {module}
    assert not beyond, f"{module} may not import {sorted(beyond)}"


def unused(allowed: dict[str, set[str]], imported: dict[str, set[str]]) -> dict[str, set[str]]:
    """What rows of the table allow and no file of the folder imports."""
    return {row: left for row, names in allowed.items() if row not in FACES and (left := names - imported[row])}


def test_a_row_allows_nothing_that_its_folder_does_not_import() -> None:
    imported = {row: {name for p in FILES if module_of(p) == row for name in local(p)} for row in ALLOWED}
    assert not unused(ALLOWED, imported), "take it out of the table in ARCHITECTURE.md"
    assert unused({"judge": {"model", "record"}}, {"judge": {"model"}}) == {"judge": {"record"}}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_imports_a_face(path: Path) -> None:
    own = {module_of(path)} | ({"cli"} if module_of(path) == "__main__" else set())
    assert not local(path) & (FACES - own), "campaign.py is there for that"


def test_the_walk_sees_an_import_that_is_not_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from testbed import run\n    from testbed.engine.host import find\n    import docker.errors\n")
    assert local(path) == {"run", "engine"}
    assert "docker.errors" in imports(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_engine_knows_docker(path: Path) -> None:
    found = {name for name in imports(path) if name.split(".")[0] == "docker"}
    assert module_of(path) == "engine" or not found, f"{path.name} imports {sorted(found)}: engine/ is there for that"


SDK = {"attrs", "reload", "exec_run", "get_archive", "put_archive", "attach_socket"}
"""Attributes that only an object of Docker's SDK has."""


def sdk_uses(source: str) -> list[str]:
    """Where a source reaches into an object of Docker's SDK: the engine's client, or what stands in SDK."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and (node.attr in SDK or (node.attr == "client" and ast.unparse(node.value).rpartition(".")[2] == "engine"))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_engine_calls_docker(path: Path) -> None:
    assert module_of(path) == "engine" or not sdk_uses(path.read_text()), "engine/ is there for that: give it a function"


@pytest.mark.parametrize(
    "use", ["engine.client.containers.list()", "reap(self.engine.client)", "container.attrs['Image']", "stand.server.reload()"]
)
def test_the_look_for_docker_sees_a_call_that_imports_nothing(use: str) -> None:
    assert sdk_uses(f"def f():\n    return {use}\n")
    assert not sdk_uses("message.client.rpartition(':'); epoch.client(domain)")


@pytest.mark.parametrize("path", INSIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_goes_into_a_container_imports_nothing_of_the_testbed(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] == "testbed"}


@pytest.mark.parametrize(
    "path", sorted(p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix != ".pyc"), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_implementation_is_named_in_the_testbed(path: Path) -> None:
    """What is particular to a server stands in its folder of images/, so that one folder adds a server."""
    text = path.read_text(errors="replace")
    assert IMPLEMENTATIONS
    named = [
        f"{path.name}:{text.count(chr(10), 0, found.start()) + 1}: {found.group()}"
        for found in re.finditer("|".join(map(re.escape, IMPLEMENTATIONS)), text, re.IGNORECASE)
    ]
    assert not named


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_file_opens_with_a_sentence(path: Path) -> None:
    opening = ast.get_docstring(ast.parse(path.read_text()))
    assert opening
    assert re.match(r"\S+( \S+){2,}[.:;!?]", " ".join(opening.split())), f"not a sentence: {opening}"
