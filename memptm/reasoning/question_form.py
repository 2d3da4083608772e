"""What a question asks for by its form: a span, a yes or no, or one of two things it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Form = Literal["span", "yes-no", "either-or"]
_ASKS_YES_NO = re.compile(
    r"^(?:and\s+|so\s+)?(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|may|might)\b",
    re.IGNORECASE,
)
_EITHER = re.compile(rf"{_ASKS_YES_NO.pattern}[^,;:?]*?\beither\b", re.IGNORECASE)
_MORE = (  # words that compare
    r"\b(?:first|last|both|more|most|less|least|fewer|fewest|better|best|worse|worst|elder|eldest|"
    r"(?:old|young|bigg|larg|small|long|short|tall|high|low|deep|wid|broad|narrow|earli|lat|soon|fast|slow|quick|new|"
    r"heavi|light|rich|wealthi|poor|great|near|clos|furth|farth|strong|weak|warm|cold|hott|cheap|busi)(?:er|est))\b"
)
_KIND = (  # what the things are called, before a name: "the film"; no "of", "with", "in"
    r"(?:(?:the|a|an|two)\s+)?"
    r"(?:(?!(?:of|in|on|at|by|for|from|with|to|and|or|than|as|about|between|that|which|who)\b)[a-z]+\s+){0,2}[\"'“‘(]*"
)
_CLOSED = r"[\"'”’)]*(?:\s*\([^()]*\))?"  # behind a name: "(1975)"
_OR, _AND = (
    re.compile(rf"^{_CLOSED}[\s,;]*\b{word}\s+{_KIND}[\w\s\"'“”()-]{{0,24}}$", re.IGNORECASE) for word in ("or", "and")
)
_ENDS = re.compile(rf"^{_CLOSED}(?:\s+[\w'’-]+)?[\s?.!]*$")
_SET_OFF = re.compile(rf"[,;:–—]\s*{_KIND}(?:[A-Z0-9][^,;:?]{{0,60}})?$")  # or the first words of a name that was cut
_AFTER_MORE = re.compile(rf"{_MORE}\W+{_KIND}$", re.IGNORECASE)
_MORE_AFTER = re.compile(rf"^{_CLOSED}(?:\s+[\w'’-]+){{0,4}}?\s+{_MORE}", re.IGNORECASE)
_SUBJECT = re.compile(  # all that stands before the pair, where the pair is what is asked of
    rf"^(?:(?:and|so)\s+)?(?:{_ASKS_YES_NO.pattern[1:]}|(?:which|who|what)(?:\s+of)?|(?:out\s+)?of|between)[\s,]+{_KIND}$",
    re.IGNORECASE,
)
_ENCLOSED = re.compile(rf"^(?:which|who|what)\b[^,]*,\s*{_KIND}$", re.IGNORECASE)
_SUBORDINATE = re.compile(r"\w\s+(?:that|which|who|whose|whom)\b", re.IGNORECASE)
_PICKS = re.compile(r"\b(?:which|who|whose|what)\b", re.IGNORECASE)
_BETWEEN = re.compile(rf"(?:^|[,;:–—]\s*)(?:(?:in\s+)?between|out of|of the two)[\s,:]+{_KIND}$", re.IGNORECASE)
_WHICH_IS_MORE = re.compile(
    rf"^{_CLOSED}[\s,]+(?:which\s+one\b|(?:which|who|whose|what)\b.*{_MORE})", re.IGNORECASE | re.DOTALL
)


_ENDS_ASKING = re.compile(
    r"\b(?:in|by|for|from|of|at|on|with|to|was|is|were|are)\s+(?:which|what|whom|who)\b(?:\s+[\w'’-]+){0,3}[\s?.!]*$"
)  # in small letters: a title such as "What Women Want" asks nothing
_MAY_BE_A_NAME = re.compile(r"(?:Will|May|Art|Can|Do)\b")


def question_form(question: str, named: Sequence[tuple[int, int]], begins: int = 0) -> Form:
    """The form; for "either-or" see ``compared``. An "either … or" behind is, was, did is for yes or no.

    A question that begins with a name ("Will Smith starred in which film?") or ends in its question word is for neither.

    Args:
        question: with its lead, what is read before it in a conversation.
        named: (start, end) characters of the names in it, in order.
        begins: the character at which the question itself begins.
    """
    if compared(question, named, begins) is not None:
        return "either-or"
    question, named = question[begins:], [(start - begins, end - begins) for start, end in named]
    if not _ASKS_YES_NO.match(question.strip()) or _ENDS_ASKING.search(question):
        return "span"
    begun = len(question) - len(question.lstrip())
    is_name = _MAY_BE_A_NAME.match(question, begun) and any(start == begun for start, _ in named)
    return "span" if is_name and _PICKS.search(question) else "yes-no"


def compared(question: str, named: Sequence[tuple[int, int]], begins: int = 0) -> tuple[int, int] | None:
    """Numbers in ``named`` of the two things that are to choose from; None if there is no such choice.

    "A or B" is one where it ends the question, set off or as what "is" or "did" asks for, or stands beside a word that
    compares. "A and B" is one behind such a word at the end, or "between A and B, which is older". The word alone makes no
    comparison, which is a trap of the original.
    """
    if _EITHER.match(question[begins:].lstrip()):
        return None
    for n in reversed(range(len(named) - 1)):
        (start, end), (begin, stop) = named[n], named[n + 1]
        if start < begins:
            break
        before, between, after = question[begins:start].lstrip(), question[end:begin], question[stop:]
        if _OR.match(between) and _is_choice(before, after):
            return n, n + 1
        if _AND.match(between) and _is_pair(before, after):
            return n, n + 1
    return None


def _is_choice(before: str, after: str) -> bool:
    """Whether "A or B" between these is to choose from."""
    asked = _ASKS_YES_NO.match(before) is not None and not _SUBORDINATE.search(before)
    if _ENDS.match(after) and (asked or _SET_OFF.search(before) or _AFTER_MORE.search(before)):
        return True
    if _ENCLOSED.match(before) and after.lstrip(" \"'”’)").startswith(","):
        return True
    if _BETWEEN.search(before) and _WHICH_IS_MORE.match(after):
        return True
    return _MORE_AFTER.match(after) is not None and (_SUBJECT.match(before) or _SET_OFF.search(before)) is not None


def _is_pair(before: str, after: str) -> bool:
    """Whether "A and B" between these is to choose from."""
    if _BETWEEN.search(before) and _WHICH_IS_MORE.match(after):
        return True
    set_off = _SET_OFF.search(before) or _AFTER_MORE.search(before)
    return bool(_ENDS.match(after) and set_off and _PICKS.match(before) and re.search(_MORE, before, re.IGNORECASE))
