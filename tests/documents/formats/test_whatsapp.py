"""WhatsApp's exports, as telephones of several countries write them."""

from __future__ import annotations

import pytest

from memptm.documents.load import load


def read(tmp_path, text, name="WhatsApp Chat with Quay.txt"):
    warnings = []
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    (document,) = load(tmp_path / name, warn=warnings.append)
    return document, warnings


def turns(document):
    return [
        (block.metadata["speaker"], block.metadata["time"], document.text[block.start : block.end].split(": ", 1)[1])
        for block in document.blocks
    ]


FORMS = {
    "Android, English": "03/05/2025, 22:15 - ",
    "Android, German": "03.05.25, 22:15 - ",
    "Android, 12 hours": "5/3/25, 10:15\u202fPM - ",
    "Android, Dutch": "03-05-2025 22:15 - ",
    "iOS, British": "[03/05/2025, 22:15:40] ",
    "iOS, German": "[03.05.25, 22:15:40] ",
    "iOS, American": "[5/3/25, 10:15:40\u202fPM] ",
    "ISO": "2025-05-03, 22:15 - ",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_speaker_time_and_words_are_told(tmp_path, form):
    later = form.replace("03", "23").replace("5/3/", "5/23/")
    document, _ = read(tmp_path, f"{form}Ann B.: The key: it hangs\nby the door\n{later}Bo: Thanks\n")
    assert turns(document)[0] == ("Ann B.", "2025-05-03T22:15:00", "The key: it hangs by the door")
    assert turns(document)[1][1].startswith("2025-05-23")
    assert (document.title, document.metadata) == ("Quay", {"conversation": "Quay"})


def test_what_the_program_says_is_left_out_and_attachments_are_counted(tmp_path):
    text = (
        "03/05/2025, 10:15 - Messages and calls are end-to-end encrypted.\n"
        '03/05/2025, 10:15 - Ann created group "Quay"\n'
        "03/05/2025, 10:21 - Ann: Hello\n"
        "03/05/2025, 10:22 - Bo: <Media omitted>\n"
        "03/05/2025, 10:23 - Bo: This message was deleted\n"
        "03/05/2025, 10:24 - Bo: Hi <This message was edited>\n"
    )
    document, warnings = read(tmp_path, text)
    assert document.text == "Ann: Hello\nBo: Hi"
    assert len(warnings) == 1
    assert warnings[0].endswith("(pictures, voice messages): 1")


def test_an_export_of_ios_has_its_folders_name(tmp_path):
    text = "\u200e[03/05/2025, 10:15:00] Crew: Messages are encrypted.\n[03/05/2025, 10:16:00] Ann: Hello\n[03/05/2025, 10:17:00] Bo: Hi\n"
    document, _ = read(tmp_path, text, "WhatsApp Chat - Crew/_chat.txt")
    assert document.title == "Crew"
    assert document.text == "Ann: Hello\nBo: Hi"


def test_a_log_is_no_chat(tmp_path):
    (tmp_path / "gate.log").write_text("2025-06-21 06:58:25 INFO gate-1 opened\n2025-06-21 07:02:29 INFO closed\n")
    (document,) = load(tmp_path / "gate.log", warn=pytest.fail)
    assert document.blocks == ()
