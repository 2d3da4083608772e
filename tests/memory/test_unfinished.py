"""A build that was interrupted has kept what it did, and is said to be unfinished until it is not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_processes import HERE, start, wait_for
from toy import Toy

from memptm import Document, Memory
from memptm.cli.commands import main
from memptm.memory.folder import IndexFolder
from memptm.memory.unfinished import UNFINISHED

BUILD = """
    import time
    import memptm.memory.ingest as ingest
    import memptm.memory.unfinished as unfinished
    ingest.SECONDS = unfinished.SECONDS = 0.2
    read = ingest.load
    def load(path, **options):
        time.sleep(float(sys.argv[3]))
        yield from read(path, **options)
    ingest.load = load
    class Slow(Toy):
        def encode_passages(self, texts, **options):
            time.sleep(float(sys.argv[4]) * len(texts))
            return super().encode_passages(texts, **options)
    Memory.open(sys.argv[1], create=True, encoder=Slow()).add(sys.argv[2])
"""


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(200):
        (folder / f"{n:03}.txt").write_text(f"Record number{n} stands.")
    return folder


@pytest.fixture
def interrupted(path, docs, toy, monkeypatch):
    """An index whose build of ``docs`` ended after 40 files."""

    class Stopping(Toy):
        def encode_passages(self, texts, **options):
            if len(self.encoded) >= 40:
                raise KeyboardInterrupt
            return super().encode_passages(texts, **options)

    with monkeypatch.context() as patched:
        patched.setattr("memptm.memory.ingest.BATCH", 20)
        with pytest.raises(KeyboardInterrupt):
            Memory.open(path, create=True, encoder=Stopping()).add(docs)
    return path


def reopen(path):
    with pytest.warns(UserWarning, match="interrupted"):
        return Memory.open(path, encoder=Toy())


@pytest.mark.filterwarnings("ignore:.*(made anew|interrupted|at work)")
@pytest.mark.parametrize(("reading", "encoding"), [(0.02, 0), (0, 0.02)])
def test_a_build_of_small_files_killed_before_a_full_batch_has_kept_its_work(path, docs, reading, encoding):
    process = start(BUILD, path, docs, reading, encoding)

    def enough():
        assert process.poll() is None, process.stderr.read()
        try:
            return len(Memory.open(path, encoder=Toy())) >= 20
        except Exception:  # not begun yet
            return False

    wait_for(enough)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    memory = Memory.open(path, encoder=Toy())
    kept = len(memory)
    assert 20 <= kept < 200
    assert "was interrupted" in memory.notice
    assert all(check.ok for check in memory.verify())
    toy = Toy()
    added = Memory.open(path, encoder=toy).add(docs)
    assert (added.added, added.unchanged, len(toy.encoded)) == (200 - kept, kept, 200 - kept)
    assert Memory.open(path, encoder=toy).notice == ""


def test_while_a_build_is_at_work_readers_know_and_it_is_no_interruption(path, docs):
    process = start(BUILD, path, docs, 0.02, 0)
    wait_for(lambda: (path / UNFINISHED).exists())
    try:
        with pytest.warns(UserWarning, match="is at work"):
            assert "interrupted" not in Memory.open(path, encoder=Toy()).notice
    finally:
        process.kill()
        process.communicate()
    assert "interrupted" in reopen(path).notice


@pytest.mark.filterwarnings("ignore:.*made anew")
def test_it_is_said_until_the_same_paths_are_built_to_the_end(interrupted, docs, tmp_path):
    memory = reopen(interrupted)
    assert "of 200 files were read" in memory.info()["note"]
    assert f"memptm build {docs} --index {interrupted}" in memory.notice
    builds = next(check for check in memory.verify() if check.name == "builds")
    assert builds.ok  # what is stored is whole
    assert "interrupted" in builds.detail
    memory.add(Document(text="Another."))
    (tmp_path / "other.txt").write_text("Other.")
    memory.add(tmp_path / "other.txt")
    memory.add(docs / "000.txt")
    assert "interrupted" in memory.notice
    memory.add(tmp_path)  # with all below it
    assert memory.notice == ""
    assert "note" not in memory.info()
    assert not (interrupted / UNFINISHED).exists()


@pytest.mark.filterwarnings("ignore:.*made anew")
def test_a_build_whose_paths_are_gone_is_not_awaited_for_ever(interrupted, docs, tmp_path):
    docs.rename(tmp_path / "elsewhere")
    memory = reopen(interrupted)
    memory.add(tmp_path / "elsewhere")
    assert memory.notice == ""


def test_a_folder_that_is_not_there_begins_no_build(memory, tmp_path):
    with pytest.raises(ValueError, match="not there"):
        memory.add(tmp_path / "missing")
    assert memory.notice == ""


def test_what_is_damaged_says_nothing(memory, path):
    for text in ("", "{}", "3", "[3]", '[{"paths": 3}]'):
        (path / UNFINISHED).write_text(text)
        assert memory.notice == ""


def test_the_look_at_the_lock_leaves_it_to_the_next_writer(memory, path, texts):
    memory.add(texts("One."))
    folder = IndexFolder(path)
    assert not folder.is_being_written()
    with folder.writer():
        assert folder.is_being_written()
    assert not folder.is_being_written()
    memory.add(texts("Two."))


@pytest.mark.filterwarnings("ignore:.*made anew")
def test_the_commands_say_so_beside_what_they_print(interrupted, docs):
    code = f"""
    import sys
    sys.path.insert(0, {HERE!r})
    import memptm.memory.opening as module
    from toy import Toy
    module._load_encoder = lambda name: Toy()
    from memptm.cli.commands import main
    main(sys.argv[1:])
    """
    for command in (["info"], ["search", "record number3"], ["verify"]):
        run = subprocess.run(
            [sys.executable, "-c", "\n".join(map(str.strip, code.splitlines())), *command, "--index", interrupted],
            capture_output=True, text=True, cwd=Path.cwd(), check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert f"Note: A build of {docs} was interrupted" in run.stderr
    run = CliRunner().invoke(main, ["info", "--index", str(interrupted), "--json"])
    assert "interrupted" in json.loads(run.stdout)["note"]
