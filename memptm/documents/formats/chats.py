"""Chats exported as JSON: Telegram, Slack, Discord, Matrix, ChatGPT and Claude; each a conversation of turns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from memptm.documents.conversations import Turn, extracted
from memptm.documents.draft import Extracted
from memptm.documents.file import File
from memptm.documents.times import day, spoken

Json = Any

_MENTION = re.compile(r"<@([UW]\w+)(?:\|([^>]+))?>")
_LINK = re.compile(r"<(?:[#!]\w+\|)?((?:https?|mailto):[^|>]+|[^|>]+)(?:\|([^>]+))?>")


def read(parsed: Json, file: File) -> Iterator[Extracted] | None:
    """The conversations of an export, or None where the JSON is none of a known program."""
    for known, reader in _PROGRAMS:
        try:
            if known(parsed):
                return reader(parsed, file)
        except (KeyError, TypeError, AttributeError, IndexError):
            continue
    return None


def _is_telegram(parsed: Json) -> bool:
    chats = parsed["chats"]["list"] if "chats" in parsed else [parsed]
    return all("messages" in chat and "type" in chat and isinstance(chat["messages"], list) for chat in chats)


def _telegram(parsed: Json, file: File) -> Iterator[Extracted]:
    for chat in parsed["chats"]["list"] if "chats" in parsed else [parsed]:
        turns: list[Turn] = []
        for one in chat["messages"]:
            text = _telegram_text(one.get("text", ""))
            if one.get("type") == "message" and text:
                reply = {"reply_to": str(one["reply_to_message_id"])} if "reply_to_message_id" in one else {}
                turns.append(_turn(str(one.get("id", len(turns) + 1)), text, one.get("from"), one.get("date"), reply))
        yield from _conversation(turns, str(chat.get("name") or file.stem), part=_part(parsed, chat))


def _part(parsed: Json, chat: Json) -> str:
    return str(chat.get("id") or chat.get("name")) if "chats" in parsed else ""


def _telegram_text(text: Json) -> str:
    parts = text if isinstance(text, list) else [text]
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)


def _is_slack(parsed: Json) -> bool:
    return isinstance(parsed, list) and bool(parsed) and all("ts" in one and "type" in one for one in parsed)


def _slack(parsed: Json, file: File) -> Iterator[Extracted]:
    names = _slack_names(file)
    turns: list[Turn] = []
    for one in sorted(parsed, key=lambda one: float(one["ts"])):
        text = _slack_text(str(one.get("text") or ""), names)
        if not text or one.get("subtype") in ("channel_join", "channel_leave", "channel_topic", "channel_purpose"):
            continue
        own = one.get("user_profile") or {}
        speaker = names.get(one.get("user", "")) or own.get("real_name") or one.get("username") or one.get("user") or ""
        thread = {"thread": str(one["thread_ts"])} if one.get("thread_ts") else {}
        turns.append(_turn(str(one["ts"]), text, speaker, float(one["ts"]), thread))
    channel = file.folder or file.stem
    name = f"#{channel}, {_day_of(file.stem)}" if _day_of(file.stem) else f"#{channel}"
    yield from _conversation(turns, name, metadata={"channel": channel})


def _slack_names(file: File) -> Mapping[str, str]:
    """Names of people by their id, from the users.json that lies beside the channels' folders."""
    data = file.beside("../users.json")
    if data is None:
        return {}
    try:
        users = json.loads(data)
        return {
            one["id"]: one.get("real_name") or one.get("profile", {}).get("real_name") or one.get("name", "")
            for one in users
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        file.warn(f"{file.path}: the users.json of the export cannot be read; people keep their ids")
        return {}


def _slack_text(text: str, names: Mapping[str, str]) -> str:
    text = _MENTION.sub(lambda found: names.get(found[1]) or found[2] or found[1], text)
    text = _LINK.sub(lambda found: found[2] or found[1], text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _day_of(stem: str) -> str:
    try:
        return day(datetime.fromisoformat(stem).date())
    except ValueError:
        return ""


def _is_discord(parsed: Json) -> bool:
    return "channel" in parsed and "messages" in parsed and isinstance(parsed["channel"], dict)


def _discord(parsed: Json, file: File) -> Iterator[Extracted]:
    turns: list[Turn] = []
    for one in parsed["messages"]:
        author = one.get("author") or {}
        if one.get("content"):
            reference = one.get("reference") or {}
            reply = {"reply_to": str(reference["messageId"])} if reference.get("messageId") else {}
            speaker = author.get("nickname") or author.get("name")
            turns.append(_turn(str(one["id"]), str(one["content"]), speaker, one.get("timestamp"), reply))
    name = str(parsed["channel"].get("name") or file.stem)
    server = (parsed.get("guild") or {}).get("name")
    yield from _conversation(turns, f"#{name}", metadata={"server": server} if server else None)


def _is_matrix(parsed: Json) -> bool:
    return "room_name" in parsed and "messages" in parsed


def _matrix(parsed: Json, file: File) -> Iterator[Extracted]:
    turns: list[Turn] = []
    for one in parsed["messages"]:
        content = one.get("content") or {}
        if one.get("type") == "m.room.message" and content.get("body"):
            sender = str(one.get("sender_name") or str(one.get("sender", "")).split(":")[0].lstrip("@"))
            moment = float(one["origin_server_ts"]) / 1000 if "origin_server_ts" in one else None
            turns.append(_turn(str(one.get("event_id", len(turns) + 1)), str(content["body"]), sender, moment, {}))
    yield from _conversation(turns, str(parsed["room_name"] or file.stem))


def _is_chatgpt(parsed: Json) -> bool:
    chats = parsed if isinstance(parsed, list) else [parsed]
    return bool(chats) and all(isinstance(chat["mapping"], dict) for chat in chats)


def _chatgpt(parsed: Json, file: File) -> Iterator[Extracted]:
    chats = parsed if isinstance(parsed, list) else [parsed]
    for number, chat in enumerate(chats, start=1):
        turns: list[Turn] = []
        for node in _branch(chat):
            said = node.get("message") or {}
            role = (said.get("author") or {}).get("role")
            content = said.get("content") or {}
            text = "\n".join(part for part in content.get("parts") or [] if isinstance(part, str)).strip()
            if role in ("user", "assistant") and text:
                turns.append(_turn(str(said.get("id", len(turns) + 1)), text, role, said.get("create_time"), {}))
        part = str(chat.get("conversation_id") or chat.get("id") or number) if len(chats) > 1 else ""
        yield from _conversation(turns, str(chat.get("title") or file.stem), part=part)


def _branch(chat: Json) -> list[Json]:
    """Nodes from the root to the one that was last shown; regenerated answers beside it are left out."""
    mapping = chat["mapping"]
    current = chat.get("current_node")
    if current not in mapping:
        leaves = [name for name, node in mapping.items() if not node.get("children")]
        current = leaves[-1] if leaves else None
    nodes: list[Json] = []
    seen: set[str] = set()
    while current in mapping and current not in seen:
        seen.add(current)
        nodes.append(mapping[current])
        current = mapping[current].get("parent")
    return nodes[::-1]


def _is_claude(parsed: Json) -> bool:
    chats = parsed if isinstance(parsed, list) else [parsed]
    return bool(chats) and all(isinstance(chat["chat_messages"], list) for chat in chats)


def _claude(parsed: Json, file: File) -> Iterator[Extracted]:
    chats = parsed if isinstance(parsed, list) else [parsed]
    for number, chat in enumerate(chats, start=1):
        turns = [
            _turn(str(one.get("uuid", n)), text, one.get("sender"), one.get("created_at"), {})
            for n, one in enumerate(chat["chat_messages"], start=1)
            if (text := _claude_text(one))
        ]
        part = str(chat.get("uuid") or number) if len(chats) > 1 else ""
        yield from _conversation(turns, str(chat.get("name") or file.stem), part=part)


def _claude_text(one: Json) -> str:
    parts = one.get("content") or []
    text = "\n".join(str(part.get("text") or "") for part in parts if part.get("type") == "text").strip()
    return text or str(one.get("text") or "").strip()


_PROGRAMS: Sequence[tuple[Callable[[Json], bool], Callable[[Json, File], Iterator[Extracted]]]] = (
    (_is_slack, _slack),
    (_is_chatgpt, _chatgpt),
    (_is_claude, _claude),
    (_is_discord, _discord),
    (_is_matrix, _matrix),
    (_is_telegram, _telegram),
)


def _turn(id: str, text: str, speaker: Json, moment: Json, metadata: Mapping[str, str]) -> Turn:
    return Turn(id=id, text=text, speaker=str(speaker or ""), time=_spoken(moment), metadata=metadata)


def _spoken(moment: Json) -> str:
    """Seconds since 1970 (in UTC) or ISO 8601 as a document would write it."""
    if isinstance(moment, int | float):
        return spoken(datetime.fromtimestamp(moment, tz=UTC))
    try:
        return spoken(datetime.fromisoformat(str(moment)))
    except ValueError:
        return ""


def _conversation(
    turns: Sequence[Turn], name: str, *, part: str = "", metadata: Mapping[str, Any] | None = None
) -> Iterator[Extracted]:
    if turns:
        yield extracted(turns, name=name, part=part, metadata=metadata)
