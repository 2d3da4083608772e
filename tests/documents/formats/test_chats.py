"""Chats exported as JSON."""

from __future__ import annotations

import json

import pytest

from memptm.documents.load import Refused, load


def read(path, exported):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(exported), encoding="utf-8")
    return list(load(path, warn=pytest.fail))


def turns(document):
    return [(document.text[b.start : b.end], b.metadata.get("time")) for b in document.blocks]


def test_telegram(tmp_path):
    said = [
        {"id": 1, "type": "service", "date": "2025-05-24T09:00:00", "actor": "Ida", "text": ""},
        {"id": 2, "type": "message", "date": "2025-05-24T09:01:10", "from": "Ida", "text": ["See ", {"type": "link", "text": "x.example"}]},
        {"id": 3, "type": "message", "date": "2025-05-24T09:02:10", "from": "Tor", "text": "Fine", "reply_to_message_id": 2},
    ]  # fmt: skip
    (document,) = read(tmp_path / "result.json", {"name": "Kin", "type": "private_group", "id": 7, "messages": said})
    assert document.title == "Kin"
    assert turns(document) == [("Ida: See x.example", "2025-05-24T09:01:00"), ("Tor: Fine", "2025-05-24T09:02:00")]
    assert document.blocks[1].metadata["reply_to"] == "2"


def test_slack_takes_names_from_the_exports_users(tmp_path):
    (tmp_path / "users.json").write_text(
        json.dumps([{"id": "U1", "real_name": "Ida Lund"}, {"id": "U2", "name": "tor"}])
    )
    said = [
        {
            "type": "message",
            "user": "U1",
            "text": "Ask <@U2> &amp; see <https://x.example|the page>",
            "ts": "1750147200.0",
        },
        {"type": "message", "subtype": "channel_join", "user": "U2", "text": "<@U2> has joined", "ts": "1750147260.0"},
        {"type": "message", "user": "U2", "text": "Yes", "ts": "1750147320.0", "thread_ts": "1750147200.0"},
    ]
    (document,) = read(tmp_path / "workshop" / "2025-06-17.json", said)
    assert document.title == "#workshop, 17 June 2025"
    assert turns(document) == [
        ("Ida Lund: Ask tor & see the page", "2025-06-17T08:00:00"),
        ("tor: Yes", "2025-06-17T08:02:00"),
    ]
    assert document.metadata["channel"] == "workshop"


def test_discord(tmp_path):
    said = [
        {
            "id": "9",
            "timestamp": "2025-01-02T03:04:05+00:00",
            "content": "Hoist the flag",
            "author": {"name": "ann", "nickname": "Ann"},
        }
    ]
    (document,) = read(
        tmp_path / "d.json", {"guild": {"name": "Club"}, "channel": {"name": "general"}, "messages": said}
    )
    assert turns(document) == [("Ann: Hoist the flag", "2025-01-02T03:04:00")]
    assert document.metadata == {"conversation": "#general", "server": "Club"}


def test_matrix(tmp_path):
    said = [
        {"type": "m.room.message", "event_id": "$1", "sender": "@ann:x.example", "origin_server_ts": 1750147200000, "content": {"body": "Hello"}},
        {"type": "m.room.member", "sender": "@bo:x.example", "content": {}},
    ]  # fmt: skip
    (document,) = read(tmp_path / "m.json", {"room_name": "Quay", "messages": said})
    assert turns(document) == [("ann: Hello", "2025-06-17T08:00:00")]


def node(name, parent, children, role=None, text=""):
    message = {
        "id": name,
        "author": {"role": role},
        "create_time": 1750147200.0,
        "content": {"content_type": "text", "parts": [text]},
    }
    return {"id": name, "parent": parent, "children": children, "message": message if role else None}


def test_chatgpt_is_read_along_the_branch_that_was_shown(tmp_path):
    mapping = {
        "r": node("r", None, ["a"]),
        "a": node("a", "r", ["b", "c"], "user", "How much?"),
        "b": node("b", "a", [], "assistant", "Ten."),
        "c": node("c", "a", [], "assistant", "Twelve."),
    }
    one, two = read(
        tmp_path / "conversations.json",
        [
            {"title": "Sums", "mapping": mapping, "current_node": "c", "id": "1"},
            {"title": "More", "mapping": mapping, "id": "2"},
        ],
    )
    assert one.text == "user: How much?\nassistant: Twelve."
    assert (one.title, two.title) == ("Sums", "More")
    assert one.id != two.id


def test_claude(tmp_path):
    said = [
        {
            "uuid": "1",
            "sender": "human",
            "created_at": "2025-06-17T08:00:00Z",
            "text": "",
            "content": [{"type": "text", "text": "Hi"}],
        },
        {"uuid": "2", "sender": "assistant", "created_at": "2025-06-17T08:01:00Z", "text": "Hello"},
    ]
    (document,) = read(tmp_path / "c.json", [{"uuid": "u", "name": "Greeting", "chat_messages": said}])
    assert document.text == "human: Hi\nassistant: Hello"


def test_flat_objects_are_a_table_and_other_json_stays_text(tmp_path):
    (table,) = read(tmp_path / "t.json", {"boats": [{"boat": "Wren", "length": 6.4}, {"boat": "Teal", "motor": True}]})
    assert table.text == "boat: Wren; length: 6.4\nboat: Teal; motor: yes"
    (other,) = read(tmp_path / "o.json", {"a": {"b": [1, 2]}})
    assert other.text == '{"a": {"b": [1, 2]}}'


@pytest.mark.parametrize(
    "exported", [[], {}, [1, 2], "x", None, [{"ts": "x", "type": 1}], {"messages": 3, "type": 1}, [{"mapping": 1}]]
)
def test_json_of_any_shape_is_read_or_refused(tmp_path, exported):
    try:
        documents = read(tmp_path / "x.json", exported)
    except Refused as refused:
        documents, reason = [], refused.reason
    else:
        reason = ""
    assert bool(documents) != bool(reason)
    assert "\n" not in reason
