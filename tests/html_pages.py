"""Pages of HTML in tests: their elements, and what is wrong with them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    """An element: its attributes, its children and its own text."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str = "") -> Iterator["Element"]:
        """Yield this element and those inside, of one tag or of all, in the page's order."""
        if tag in ("", self.tag):
            yield self
        for child in self.children:
            yield from child.all(tag)

    def words(self) -> str:
        """The text of this element and those inside, without those of scripts."""
        inside = [child.words() for child in self.children if child.tag not in ("script", "style")]
        return " ".join(" ".join([self.text, *inside]).split())


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self.open, self.wrong = [self.root], []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.wrong.append(f"<{tag}> has an attribute twice")
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if self.open[-1].tag == tag:
            self.open.pop()
        else:
            self.wrong.append(f"</{tag}> closes <{self.open[-1].tag}>")

    def handle_data(self, data):
        self.open[-1].text += data


def parse(page: str) -> Element:
    """The elements of a page, which must be well formed and usable without seeing it."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    root, wrong = parser.root, parser.wrong
    wrong += [f"<{element.tag}> is not closed" for element in parser.open[1:]]
    assert not wrong, wrong
    assert page.lstrip().lower().startswith("<!doctype html>")
    (html,), (title,) = root.all("html"), root.all("title")
    assert html.attributes["lang"] == "en" and title.text.strip()
    ids = [e.attributes["id"] for e in root.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids)), ids
    for name in ("for", "aria-labelledby"):
        assert {e.attributes[name] for e in root.all() if name in e.attributes} <= set(ids)
    targets = {e.attributes["href"][1:] for e in root.all("a")}
    assert targets <= set(ids), targets - set(ids)
    assert all(image.attributes["alt"] for image in root.all("img"))
    _check_headings(root)
    return root


def addresses(root: Element) -> set[str]:
    """The beginnings of all addresses that a page names."""
    named = [e.attributes.get(name) for e in root.all() for name in ("src", "href", "action")]
    styles = "".join(style.text for style in root.all("style"))
    found = [*filter(None, named), *re.findall(r"url\(([^)]*)\)|@import (\S+)", styles)]
    return {re.sub(r"^(\w+:|#).*", r"\1", str(address), flags=re.DOTALL) for address in found}


def _check_headings(root: Element) -> None:
    levels = [int(e.tag[1]) for e in root.all() if re.fullmatch(r"h[1-6]", e.tag)]
    assert levels[0] == 1 and levels.count(1) == 1, levels
    steps = zip(levels, levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps), levels
