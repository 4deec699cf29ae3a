"""The documents speak of what there is: links, paths, commands, options, targets of make and messages are real."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from testbed.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
PLACEHOLDER = re.compile(r"<[^>]*>|\{[a-z]+\}|\b[A-Z]{2,}\b|\bx(?=\.py)|…")
"""What stands for a name: `<phase>`, `{phase}`, `NAME`, `test_x.py`."""
COMMAND = re.compile(r"(?:^|\s)(?:\.venv/bin/)?testbed((?: [^\s|&;>]+)+)")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def spoken(document: Path) -> Iterator[str]:
    """What stands in backticks or is typed at a prompt."""
    text = document.read_text()
    yield from CODE.findall(prose(document))
    for language, block in FENCE.findall(text):
        if language == "console":
            yield from (
                line.removeprefix("$ ").partition("#")[0] for line in block.replace("\\\n", "").splitlines() if line[:2] == "$ "
            )


def alternatives(path: str) -> Iterator[str]:
    """`a.{b,c}` is two paths."""
    parts = re.split(r"\{([^{}]*,[^{}]*)\}", path)
    choices = [part.split(",") if n % 2 else [part] for n, part in enumerate(parts)]
    return ("".join(choice) for choice in itertools.product(*choices))


def is_there(path: str, document: Path) -> bool:
    """Whether a path exists, if its first part is a folder of the project, of the testbed, or beside the document."""
    first = path.partition("/")[0]
    roots = [r for r in (ROOT, ROOT / "testbed", ROOT / "testbed" / "measure", document.parent) if (r / first).is_dir()]
    pattern = PLACEHOLDER.sub("*", path).rstrip("/")
    made = pattern.startswith("results/") and not pattern.startswith("results/reference")  # by runs
    return not roots or made or any([*root.glob(pattern)] or [*root.glob(f"{pattern}.py")] for root in roots)


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    dead = []
    for path, anchor in LINK.findall(prose(document)):
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert not dead


@every_document
def test_every_path_exists(document: Path) -> None:
    words = (word.strip("'\"(),:") for code in spoken(document) for word in code.split())
    paths = [w for w in words if re.fullmatch(r"[\w*<][\w.*<>{},-]*(?:/[\w.*<>{},-]*)+", w)]
    assert not [p for path in paths for p in alternatives(path) if not is_there(p, document)]


@every_document
def test_every_command_and_option_exists(document: Path) -> None:
    wrong = []
    for code in spoken(document):
        for words in COMMAND.findall(code):
            command, rest = typer.main.get_command(app), words.split()
            while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
                found = command.commands.get(rest[0])
                if found is None:
                    break
                command, rest = found, rest[1:]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            unknown = [w for w in rest if w.startswith("-") and w.partition("=")[0] not in known]
            if hasattr(command, "commands") and not unknown and any(w[0] != "-" for w in rest):
                unknown = rest
            wrong += [f"testbed{words}: {w}" for w in unknown]
    assert not wrong


@every_document
def test_every_target_of_make_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {t for code in spoken(document) for t in re.findall(r"(?:^|\s)make ([a-z-]+)", code)}
    assert named <= targets


@every_document
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = {code for code in CODE.findall(document.read_text()) if re.fullmatch(r"test_\w+", code)}
    tests = {name for path in (ROOT / "tests").rglob("test_*.py") for name in (path.stem, *_functions(path))}
    assert named <= tests


def _functions(source: Path) -> list[str]:
    return re.findall(r"^ *def (test_\w+)", source.read_text(), re.M)


def texts_of(source: Path) -> Iterator[str]:
    """The strings in a file; of those that are put together, `…` for what is put in."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)


COMPOSED = {
    "a Docker engine is needed (docker.io), and this is not Debian or Ubuntu",
    "in 198.18.0.0/15",
    "the gate between servers failed",
}
"""What a message says of its parameters."""


def test_every_message_in_troubleshooting_is_one_of_the_testbed() -> None:
    texts = "\n".join(text for path in (ROOT / "testbed").rglob("*.py") for text in texts_of(path))
    messages = re.findall(r"^\| `+ ?(.*?) ?`+ \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
    parts = {part.strip(" `:") for message in messages for part in re.split(r"…|[A-Z]{3,}", message)}
    assert len(parts) > 15
    assert {part for part in parts if len(part) > 12 and part not in texts} == COMPOSED


WIDTH = 120


@every_document
def test_no_line_of_prose_is_too_wide(document: Path) -> None:
    """Tables, code and generated pages are as wide as they are; so is what cannot be broken, such as a link."""
    if document.read_text().startswith("<!-- Generated"):
        return
    wide = [line for line in prose(document).splitlines() if len(line) > WIDTH and not line.lstrip().startswith(("|", "<!--"))]
    words = [CODE.sub(lambda code: "x" * len(code.group()), line)[:WIDTH].strip().removeprefix("- ") for line in wide]
    assert not [line for line, text in zip(wide, words, strict=True) if " " in text]
