"""HTML: headings, paragraphs, tables and preformatted text in reading order, without the page's furniture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from memptm.documents.draft import Draft, Extracted, one_line
from memptm.documents.tables import add_table, fill_spans

_DROPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "math",
        "iframe",
        "object",
        "canvas",
        "video",
        "audio",
        "head",
        "button",
        "select",
        "input",
        "textarea",
    ]
)
_FURNITURE = frozenset(("nav", "footer", "header", "menu", "aside", "dialog"))
_FURNITURE_ROLES = frozenset(
    ("navigation", "banner", "contentinfo", "search", "dialog", "alertdialog", "menu", "menubar")
)
_CONSENT = re.compile(r"cookie|consent|gdpr|onetrust|newsletter-popup", re.IGNORECASE)  # in the class or id of a banner
_LONGEST_BANNER = 1500  # characters; what is longer and named so is an article about it
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SELECTOR = re.compile(r"[.#][\w-]+")
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]+encoding\s*=\s*["']([\w.:-]+)""", re.I)
_BLANKS = re.compile(r"[ \t\n\r\f]+")


def declared_encoding(data: bytes) -> str:
    """What the first two kilobytes say the encoding is; "" if nothing."""
    found = _CHARSET.search(data[:2048])
    return (found.group(1) or found.group(2)).decode("ascii") if found else ""


def read(text: str) -> Extracted:
    """Title from <title>, else the first <h1>; menus, page headers and footers are left out unless nothing else is there."""
    draft = Draft()
    title = read_into(draft, text)
    return draft.finish(title=title)


def read_into(draft: Draft, text: str) -> str:
    """As ``read``, behind what a draft holds already; the title."""
    tree = LexborHTMLParser(text)
    body = tree.body or tree.root
    first = tree.css_first("title") or tree.css_first("h1")
    for furniture in (_FURNITURE, frozenset[str]()):
        before = len(draft)
        if body is not None:
            _Reader(draft, furniture, _layout_tables(tree), _hidden(tree)).walk(body)
        if len(draft) > before:
            break
    return one_line(first.text()) if first else ""


def _layout_tables(tree: LexborHTMLParser) -> set[int]:
    """Tables that hold tables: they arrange a page, their cells are read as paragraphs."""
    outer = set()
    for table in tree.css("table table"):
        above = table.parent
        while above is not None and above.tag != "table":
            above = above.parent
        if above is not None:
            outer.add(above.mem_id)
    return outer


class _Reader:
    """Walks the tree without recursion: pages nest deeper than Python does."""

    def __init__(self, draft: Draft, furniture: frozenset[str], layout: set[int], hidden: frozenset[str]) -> None:
        self.draft = draft
        self._hidden = hidden  # classes (.name) and ids (#name) that the page's own styles hide
        self._furniture, self._layout = furniture, layout
        self._line: list[str | None] = []  # None: a <br>

    def walk(self, root: LexborNode) -> None:
        ends: list[LexborNode | None] = [root]
        while ends:
            node = ends.pop()
            if node is None:
                self._flush()
                continue
            if node.tag == "-text":
                self._line.append(node.text_content or "")
                continue
            if self._skipped(node) or self._block(node):
                continue
            children: list[LexborNode | None] = list(node.iter(include_text=True))
            if node.tag == "br":
                self._line.append(None)
            elif node.tag not in _INLINE:
                self._flush()
                children.append(None)
            ends.extend(reversed(children))
        self._flush()

    def _skipped(self, node: LexborNode) -> bool:
        tag = node.tag or ""
        if tag in _DROPPED or tag.startswith(("-comment", "!")):
            return True
        attributes = node.attributes
        if "hidden" in attributes or attributes.get("aria-hidden") == "true":
            return True
        names = [f".{name}" for name in (attributes.get("class") or "").split()] + [f"#{attributes.get('id') or ''}"]
        if _INVISIBLE.search(attributes.get("style") or "") or self._hidden.intersection(names):
            return True
        if not self._furniture:
            return False
        if attributes.get("role") in _FURNITURE_ROLES or attributes.get("aria-modal") == "true":
            return True
        if any(_CONSENT.search(name) for name in names) and len(node.text()) < _LONGEST_BANNER:
            return True
        # An article's own header names the article, and what stands beside an article's text can belong to it.
        return tag in self._furniture and not (
            (tag == "header" and node.css_first("h1") is not None) or (tag == "aside" and _within_article(node))
        )

    def _block(self, node: LexborNode) -> bool:
        """Takes headings, preformatted text and tables whole; False leaves the node to be walked into."""
        if node.tag in _HEADINGS:
            self._flush()
            self.draft.add(one_line(node.text()), kind="heading", level=int(node.tag[1]))
        elif node.tag == "pre":
            self._flush()
            self.draft.add(node.text().strip("\r\n"), kind="code")
        elif node.tag == "table" and node.mem_id not in self._layout:
            self._flush()
            self._table(node)
        else:
            return False
        return True

    def _table(self, table: LexborNode) -> None:
        caption = table.css_first("caption")
        name = one_line(caption.text()) if caption is not None else ""
        self.draft.add(name)
        rows = [[cell for cell in row.iter() if cell.tag in ("td", "th")] for row in table.css("tr")]
        rows = [row for row in rows if row]
        head = sum(1 for row in table.css("thead tr") if any(cell.tag in ("td", "th") for cell in row.iter()))
        for row in () if head else rows:
            if not all(cell.tag == "th" for cell in row):
                break
            head += 1
        grid = fill_spans(
            [[(_cell(cell), _span(cell, "rowspan"), _span(cell, "colspan")) for cell in row] for row in rows]
        )
        add_table(self.draft, grid, name=name, header_rows=head or None)

    def _flush(self) -> None:
        """What was gathered becomes a paragraph; a <br> stays a line end."""
        lines = [_BLANKS.sub(" ", line).strip() for line in _joined(self._line)]
        self._line = []
        self.draft.add("\n".join(line for line in lines if line))


def _hidden(tree: LexborHTMLParser) -> frozenset[str]:
    """Classes and ids that a rule of the page's own style sheets hides."""
    found: set[str] = set()
    for sheet in tree.css("style"):
        for selectors, rule in _RULE.findall(sheet.text()):
            if _INVISIBLE.search(rule) and "@" not in selectors:
                found |= {one.strip() for one in selectors.split(",") if _SELECTOR.fullmatch(one.strip())}
    return frozenset(found)


def _within_article(node: LexborNode) -> bool:
    above = node.parent
    while above is not None and above.tag not in ("article", "main"):
        above = above.parent
    return above is not None


def _joined(parts: list[str | None]) -> Iterator[str]:
    line: list[str] = []
    for part in parts:
        if part is None:
            yield "".join(line)
            line = []
        else:
            line.append(part)
    yield "".join(line)


def _span(cell: LexborNode, name: str) -> int:
    written = cell.attributes.get(name) or "1"
    return int(written) if written.isdecimal() and len(written) < 6 else 1


def _cell(cell: LexborNode) -> str:
    """Text of a cell; a blank between its elements, none within a word."""
    parts = []
    for node in cell.traverse(include_text=True):
        if node.tag == "-text":
            parts.append(node.text_content or "")
        elif node.tag not in _INLINE:
            parts.append(" ")
    return "".join(parts)
