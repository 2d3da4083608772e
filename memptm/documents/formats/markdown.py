"""Markdown: headings, fences and tables, found by line; the text stays as it stands in the file."""

from __future__ import annotations

import re
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from memptm.documents.draft import Extracted, one_line
from memptm.types import Block

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")  # as CommonMark counts lines
_FRONT_MATTER = re.compile(r"---[ \t]*(?:\r\n|\r|\n)(?:.*(?:\r\n|\r|\n))*?---[ \t]*(?:\r\n|\r|\n|$)")
_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.*?)\1[ \t]*\r?$", re.MULTILINE)


def read(text: str) -> Extracted:
    """The text unchanged; title from front matter, else the first heading."""
    front = _FRONT_MATTER.match(text)
    body = front.end() if front else 0
    blocks = [Block(start=0, end=body, kind="code")] if front else []
    offsets = list(accumulate((len(line) for line in _LINE.findall(text, body)), initial=body))
    inline = MarkdownIt("commonmark")
    title = ""
    at = 0  # line up to which blocks are known
    tokens = MarkdownIt("commonmark").enable("table").disable(["inline"]).parse(text[body:])
    for n, token in enumerate(tokens):
        kind = _kind(token)
        if not kind or token.map is None or token.map[0] < at:
            continue
        at = token.map[1]
        start, end = (offsets[min(line, len(offsets) - 1)] for line in token.map)
        if kind == "heading":
            words = _plain(inline, tokens[n + 1].content)
            title = title or words
            blocks.append(Block(start=start, end=end, kind=kind, level=int(token.tag[1:]), context=words))
        else:
            header = one_line(text[start : offsets[token.map[0] + 1]]) if kind == "table" else ""
            blocks.append(Block(start=start, end=end, kind=kind, context=header))
    named = _TITLE.search(text, 0, body) if front else None
    return Extracted(text=text, title=(named.group(2) if named else "") or title, blocks=tuple(blocks))


def _kind(token: Token) -> str:
    if token.type in ("fence", "code_block"):
        return "code"
    if token.level == 0 and token.type in ("heading_open", "table_open"):
        return token.type.removesuffix("_open")
    return ""


def _plain(inline: MarkdownIt, source: str) -> str:
    """A heading as it reads, without marks."""
    children = [child for token in inline.parseInline(source) for child in token.children or []]
    return one_line(
        "".join(child.content if child.content else " " if "break" in child.type else "" for child in children)
    )
