"""HTML: headings, paragraphs, tables and preformatted text in reading order, without the page's furniture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from memptm.documents.draft import Draft, Extracted, one_line

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
_FURNITURE = frozenset(("nav", "footer", "header", "menu"))
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
    tree = LexborHTMLParser(text)
    body = tree.body or tree.root
    first = tree.css_first("title") or tree.css_first("h1")
    title = one_line(first.text()) if first else ""
    for furniture in (_FURNITURE, frozenset[str]()):
        reader = _Reader(furniture, _layout_tables(tree))
        if body is not None:
            reader.walk(body)
        extracted = reader.draft.finish(title=title)
        if extracted.text:
            break
    return extracted


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

    def __init__(self, furniture: frozenset[str], layout: set[int]) -> None:
        self.draft = Draft()
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
        # An article's own header names the article.
        return tag in self._furniture and not (tag == "header" and node.css_first("h1") is not None)

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
        if caption is not None:
            self.draft.add(one_line(caption.text()))
        rows = [[cell for cell in row.iter() if cell.tag in ("td", "th")] for row in table.css("tr")]
        rows = [row for row in rows if row]
        header = bool(rows) and all(cell.tag == "th" for cell in rows[0])
        self.draft.add_table([[_cell(cell) for cell in row] for row in rows], header=header or _has_head(table))

    def _flush(self) -> None:
        """What was gathered becomes a paragraph; a <br> stays a line end."""
        lines = [_BLANKS.sub(" ", line).strip() for line in _joined(self._line)]
        self._line = []
        self.draft.add("\n".join(line for line in lines if line))


def _joined(parts: list[str | None]) -> Iterator[str]:
    line: list[str] = []
    for part in parts:
        if part is None:
            yield "".join(line)
            line = []
        else:
            line.append(part)
    yield "".join(line)


def _has_head(table: LexborNode) -> bool:
    return table.css_first("thead tr") is not None


def _cell(cell: LexborNode) -> str:
    """Text of a cell; a blank between its elements, none within a word."""
    parts = []
    for node in cell.traverse(include_text=True):
        if node.tag == "-text":
            parts.append(node.text_content or "")
        elif node.tag not in _INLINE:
            parts.append(" ")
    return "".join(parts)
