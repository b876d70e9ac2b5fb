"""README and docs: line lengths, links, command lines, and code that runs."""

import dataclasses
import inspect
import json
import pathlib
import pkgutil
import re
import shlex

import pytest

import ganformer_jax
from ganformer_jax import cli, convert
from ganformer_jax.config import Config
from ganformer_jax.config.dicts import to_dict

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
WITH_COMMANDS = [*PAGES, *ROOT.glob("docs/*.ipynb"), *ROOT.glob("configs/*.py")]
COMMAND = re.compile(r"(?:python run\.py|\bganformer-jax) (?=[a-z])([^`\n]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    joined = (re.sub(r"\\\n\s*", "", path.read_text()) for path in WITH_COMMANDS)
    return sorted({match[1].strip() for text in joined for match in COMMAND.finditer(text)})


def run_cells(cells: list[str], name: str) -> None:
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{name}, cell {number}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_have_at_most_100_columns(page: pathlib.Path):
    long = [line for line in page.read_text().splitlines() if len(line) > 100]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_images_exist(page: pathlib.Path):
    targets = [match[1] or match[2] for match in LINK.finditer(page.read_text())]
    local = {target.partition("#")[0] for target in targets if "://" not in target} - {""}
    assert [target for target in sorted(local) if not (page.parent / target).exists()] == []


def anchors(page: pathlib.Path) -> set[str]:
    """Anchors of a page's headings, as MkDocs and code hosts make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_headings(page: pathlib.Path):
    targets = [match[1] or match[2] for match in LINK.finditer(page.read_text())]
    for target in (t for t in targets if "#" in t and "://" not in t):
        file, _, anchor = target.partition("#")
        assert anchor in anchors(page.parent / file if file else page), target


def test_names_in_the_reference_exist():
    pages = [page.read_text() for page in ROOT.glob("docs/reference/*.md")]
    names = {name for text in pages for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
    assert len(names) > 100
    text = "".join(pages)
    for name in sorted(names):
        # A function whose file has the same name needs both: else all of the file is documented.
        if inspect.ismodule(pkgutil.resolve_name(name)):
            assert f"::: {name}\n    options:" in text, name


def test_every_config_and_command_is_in_the_reference():
    configs = (ROOT / "docs/reference/configs.md").read_text()
    kinds, found = [Config], set()
    while kinds:
        kind = kinds.pop()
        found.add(kind.__name__)
        values = vars(kind()).values()
        kinds += [type(v) for v in values if dataclasses.is_dataclass(v)]
    assert len(found) > 10
    assert [name for name in found if f"::: ganformer_jax.{name}\n" not in configs] == []
    commands = (ROOT / "docs/reference/commands.md").read_text()
    for name, module in cli.COMMANDS.items():
        assert f"| `{name}` |" in commands
        with_options = [c for c in module.Options.__mro__ if dataclasses.is_dataclass(c)]
        assert all(f"::: {c.__module__}.{c.__name__}\n" in commands for c in with_options)


def test_the_reference_has_the_functional_api():
    text = "".join(page.read_text() for page in ROOT.glob("docs/reference/*.md"))
    known = set(re.findall(r"^::: [\w.]*\b(\w+)$", text, re.MULTILINE))
    known |= {"gradient_penalty", "path_length", "r1_penalty"}  # of files that are there in full
    for package in (ganformer_jax, convert):
        assert {n for n in package.__all__ if callable(getattr(package, n))} <= known


def test_every_image_of_the_docs_is_shown():
    shown = "".join(page.read_text() for page in PAGES)
    assert [p.name for p in ROOT.glob("docs/images/*") if f"images/{p.name}" not in shown] == []


def test_benchmarks_named_in_the_docs_exist():
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"benchmarks/\w+\.py", text))
    assert named and all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_are_understood(line, tmp_path, monkeypatch, capsys):
    calls = []
    for name, command in cli.COMMANDS.items():
        monkeypatch.setattr(command, "run", lambda options, name=name: calls.append(name))
    monkeypatch.chdir(tmp_path)
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    for run in (pathlib.Path(word) for word in words if word.endswith("/config.json")):
        run.parent.mkdir(parents=True)
        run.write_text(json.dumps(to_dict(Config())))
    if words[-1] == "--help":
        with pytest.raises(SystemExit) as exit:
            cli.main(words)
        assert not exit.value.code
    else:
        cli.main(words)
        assert calls == [words[0]]


def test_a_wrong_option_is_not_understood(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["train", "--no-such-option", "1"])
    assert exit.value.code == 2


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_cells(PYTHON.findall((ROOT / page).read_text()), page)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())
    cells = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
    code = ["".join(line for line in cell if not line.startswith("%")) for cell in cells]
    run_cells(code, "quickstart.ipynb")
    assert (tmp_path / "runs" / "notebook" / "samples").is_dir()
