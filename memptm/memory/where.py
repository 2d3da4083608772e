"""Filters: a user's expression over columns and metadata, checked piece by piece and written anew for Lance."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from memptm.errors import InputError
from memptm.memory.sources import forms, spellings

if TYPE_CHECKING:
    from sqlglot import expressions as sql

# What a user may name → the column of the table. Any other name is a metadata field.
COLUMNS = {
    "id": "passage",
    "document": "document",
    "source": "source",
    "title": "title",
    "text": "text",
    "page": "page",
    "ordinal": "ordinal",
    "start": "start",
    "end": "end",
    "file": "file",
}
PATHS = {"source", "file"}  # columns of paths, which users write as they are shown
NUMBERS = {"page", "ordinal", "start", "end"}
LONGEST = 10_000  # characters of an expression
_COMPARISONS = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_ARGUMENTS = {"this", "expression", "expressions", "low", "high", "negate", "table", "db", "catalog"}
_ITEM = r'(?:"(?:[^"\\]|\\.)*"|[^",\[\]{}]+)'  # of a list, as flat() writes it
_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}


def to_sql(where: str) -> str:
    """Rewrite ``where`` for Lance.

    Known are comparisons, IN, LIKE, ILIKE, BETWEEN, IS NULL, AND, OR, NOT and parentheses, over columns and metadata
    fields (``a.b`` is field b inside a; ``metadata.title`` a field that a column hides), text, numbers, TRUE and FALSE.
    Of a list =, IN and LIKE hold where they hold for one of its items, and <> where = does not. Text is found however its
    letters are composed.

    Raises:
        InputError: the expression cannot be parsed or uses anything else.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError, TokenError

    if not where.strip() or len(where) > LONGEST:
        raise InputError(f"--where takes an expression of 1 to {LONGEST} characters, such as kind = 'fern'.")
    try:
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {where}", dialect="postgres")
    except (SqlglotError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". Line")[0]
        if isinstance(error, TokenError):
            reason = "a quote is not closed"
        elif "<class" in reason:  # sqlglot's own names
            reason = "something is missing in it"
        raise _refusal(where, reason) from error
    condition = tree.args.get("where")
    extra = [name for name, part in tree.args.items() if part and name not in ("where", "expressions", "kind")]
    if tree.key != "select" or condition is None or extra:
        raise _refusal(where, "it is more than one condition")
    try:
        return _condition(condition.this, where)
    except RecursionError:
        raise _refusal(where, "it is nested too deeply") from None


def fields(where: str) -> list[str]:
    """The metadata fields that an expression ``to_sql`` takes speaks of, each written as in a filter."""
    import sqlglot
    from sqlglot import expressions as sql

    tree = sqlglot.parse_one(f"SELECT 1 WHERE {where}", dialect="postgres")
    names = [
        one for one in tree.walk() if isinstance(one, sql.Column | sql.Dot) and not isinstance(one.parent, sql.Dot)
    ]
    asked = [one for one in names if len(one.parts) > 1 or one.name not in COLUMNS]
    return list(dict.fromkeys(one.sql(dialect="postgres") for one in asked))


def _refusal(where: str, reason: str) -> InputError:
    shown = where if len(where) <= 120 else where[:117] + "..."
    return InputError(
        f"Bad filter {shown!r}: {reason}. Write conditions such as kind = 'fern' AND year > 1990, "
        "with text in single quotes."
    )


def _condition(node: sql.Expr, where: str) -> str:
    strange = {name for name, value in node.args.items() if value} - _ARGUMENTS
    if strange:
        raise _refusal(where, f"{node.sql()[:60]} is not something a filter knows")
    plain = _plain_condition(node, where)
    return f"NOT ({plain})" if node.args.get("negate") else plain


def _plain_condition(node: sql.Expr, where: str) -> str:
    from sqlglot import expressions as sql

    name = type(node).__name__
    if isinstance(node, sql.Paren):
        return f"({_condition(node.this, where)})"
    if isinstance(node, sql.And | sql.Or):
        return "(" + f" {name.upper()} ".join(_condition(part, where) for part in node.flatten()) + ")"
    if isinstance(node, sql.Not):
        return f"NOT ({_condition(node.this, where)})"
    if name in _COMPARISONS:
        return _comparison(node.this, _COMPARISONS[name], node.expression, where)
    if isinstance(node, sql.Between):
        low = _comparison(node.this, ">=", node.args["low"], where)
        return f"({low} AND {_comparison(node.this, '<=', node.args['high'], where)})"
    if isinstance(node, sql.In) and node.expressions:
        texts = [one.this for one in node.expressions if _is_text(one) and not _is_number(node.this)]
        parts = [_equal(_named(node.this, where), *texts)] if texts else []
        rest = [one for one in node.expressions if not _is_text(one) or _is_number(node.this)]
        return "(" + " OR ".join([*parts, *(_comparison(node.this, "=", one, where) for one in rest)]) + ")"
    if isinstance(node, sql.Like | sql.ILike) and _is_text(node.expression):
        return _like(_named(node.this, where), name.upper(), node.expression.this)
    if isinstance(node, sql.Is) and isinstance(node.expression, sql.Null):
        return f"{_named(node.this, where)} IS NULL"
    if isinstance(node, sql.Is) and isinstance(node.expression, sql.Boolean):
        return _comparison(node.this, "=", node.expression, where)
    if isinstance(node, sql.Column):  # a flag: archived AND year > 1990
        return _equal_flag(_named(node, where), "true")
    raise _refusal(where, f"{node.sql()[:60]} is not something a filter knows")


def _comparison(left: sql.Expr, sign: str, right: sql.Expr, where: str) -> str:
    from sqlglot import expressions as sql

    if isinstance(right, sql.Column) and not isinstance(left, sql.Column):
        left, right, sign = right, left, _FLIPPED.get(sign, sign)
    column = _named(left, where)
    if _is_text(right):
        if _is_number(left):
            raise _refusal(where, f"{left.name} is a number")
        return _signed(sign, lambda: _equal(column, right.this), f"{column} {sign} {_quoted(right.this)}")
    if isinstance(right, sql.Boolean):
        flag = str(right.this).lower()
        return _signed(sign, lambda: _equal_flag(column, flag), f"{column} {sign} '{flag}'")
    number = right.this if isinstance(right, sql.Neg) else right
    if isinstance(number, sql.Literal) and not number.is_string:
        try:
            value = float(number.this) * (-1 if number is not right else 1)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _refusal(where, f"{number.this} is not a number")
        cast = f"try_cast({column} AS DOUBLE)"
        return _signed(sign, lambda: _equal_number(column, cast, value), f"{cast} {sign} {value!r}")
    raise _refusal(where, f"{right.sql()[:60]} is neither text in single quotes nor a number")


def _signed(sign: str, equal: Callable[[], str], other: str) -> str:
    """A comparison, ``equal`` and its contrary as they are of lists, ``other`` for all other signs."""
    if sign not in ("=", "<>"):
        return other
    return equal() if sign == "=" else f"NOT ({equal()})"


def _equal(column: str, *texts: str) -> str:
    """Whether a column is one of these texts."""
    written = [form for text in texts for form in _written(column, text)]
    items = [re.escape(json.dumps(one, ensure_ascii=False)) for one in written]
    bare = [re.escape(one) for one in written if re.fullmatch(r"[\w.+-]+", one)]  # a number or a flag given as text
    return _or_an_item(column, f"{column} IN ({', '.join(map(_quoted, written))})", [*items, *bare])


def _equal_flag(column: str, flag: str) -> str:
    return _or_an_item(column, f"{column} = '{flag}'", [f'"?{flag}"?'])


def _equal_number(column: str, cast: str, value: float) -> str:
    if column.startswith("`"):
        return f"{cast} = {value!r}"
    written = re.escape(json.dumps(value)).removesuffix(r"\.0")
    whole = r"(?:\.0+)?" if value.is_integer() else ""
    plain = f"NOT {_is_list(column)} AND {cast} = {value!r}"  # a list is no number: not unknown, but false
    return _or_an_item(column, plain, [f'"?{written}{whole}"?'])


def _like(column: str, sign: str, pattern: str) -> str:
    written = _written(column, pattern)
    anything, bare = r"(?:[^\"\\]|\\.)", r'[^",\[\]{}]'
    items = [f'"{_like_pattern(one, anything)}"' for one in written] + [_like_pattern(one, bare) for one in written]
    plain = " OR ".join(f"{column} {sign} {_quoted(one)}" for one in written)
    return _or_an_item(column, plain, items, flags="(?i)" if sign == "ILIKE" else "")


def _like_pattern(pattern: str, anything: str) -> str:
    """LIKE's pattern as a regular expression over JSON; ``anything`` is one character."""
    made = []
    for escaped, one in re.findall(r"(\\?)(.)", pattern, re.DOTALL):
        if not escaped and one in "%_":
            made.append(anything + ("*" if one == "%" else ""))
        else:
            literal = one if one in "%_\\" else escaped + one
            made.append(re.escape(json.dumps(literal, ensure_ascii=False)[1:-1]))
    return "".join(made)


def _or_an_item(column: str, plain: str, items: list[str], *, flags: str = "") -> str:
    """``plain``, or of a metadata field that is a list: whether an item is one of these regular expressions."""
    if column.startswith("`"):
        return f"({plain})"
    one_of = "|".join(items)
    listed = rf"{flags}^\[(?:{_ITEM}, )*(?:{one_of})(?:, {_ITEM})*\]$"
    return f"({plain} OR ({_is_list(column)} AND regexp_like({column}, {_quoted(listed)})))"


def _is_list(column: str) -> str:
    return f"({column} LIKE '[%')"


def _written(column: str, text: str) -> list[str]:
    """How ``text`` may be stored in a column."""
    return spellings(text) if column.strip("`") in PATHS else forms(text)


def _named(node: sql.Expr, where: str) -> str:
    """The column, or the look-up of the metadata field."""
    from sqlglot import expressions as sql

    if not isinstance(node, sql.Column | sql.Dot) or any(isinstance(part, sql.Star) for part in node.parts):
        raise _refusal(where, f"{node.sql()[:60]} is not the name of a column or a metadata field")
    path = [part.name for part in node.parts]
    if len(path) == 1 and path[0] in COLUMNS:
        return f"`{COLUMNS[path[0]]}`"
    if path[0] == "metadata" and len(path) > 1:
        path = path[1:]
    found = [f"json_get_string(fields, {_quoted(one)})" for one in forms(".".join(path))]
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def _is_number(node: sql.Expr) -> bool:
    """Whether this names a column of numbers."""
    return node.name in NUMBERS and not node.args.get("table")


def _is_text(node: sql.Expr) -> bool:
    from sqlglot import expressions as sql

    return isinstance(node, sql.Literal) and bool(node.is_string)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
