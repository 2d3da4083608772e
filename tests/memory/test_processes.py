"""Several processes, processes that die, and threads."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest
from toy import Toy

from memptm import Document, Memory
from memptm.errors import IndexLocked, MemptmError

HERE = str(Path(__file__).parent)
BUILD = """
    import time
    class Slow(Toy):
        def encode_passages(self, texts, **options):
            time.sleep(0.05)
            return super().encode_passages(texts, **options)
    import memptm.memory.ingest
    memptm.memory.ingest.BATCH = 10
    try:
        added = Memory.open(sys.argv[1], create=True, encoder=Slow()).add(
            [Document(text=f"Record number{n} stands.", id=str(n), source="s") for n in range(300)])
        print("added", added.added, added.passages)
    except MemptmError as error:
        print(type(error).__name__, error.exit_code, error)
"""


def start(code, *arguments, **options):
    head = f"import sys\nsys.path.insert(0, {HERE!r})\nfrom toy import Toy\nfrom memptm import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd(), **options,
    )  # fmt: skip


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def versions(path):
    folder = path / "passages.lance" / "_versions"
    return len(list(folder.glob("*.manifest"))) if folder.is_dir() else 0


@pytest.mark.filterwarnings("ignore:.*made anew")
def test_what_a_killed_build_stored_stays_and_the_next_build_goes_on(path):  # F37
    before = 0
    for commits in (5, 9):
        process = start(BUILD, path)
        wait_for(lambda commits=commits, process=process: versions(path) >= commits or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        memory = Memory.open(path, encoder=Toy())
        assert all(check.ok for check in memory.verify())
        assert before <= len(memory) < 300
        before = len(memory)
        if before:
            assert memory.search("number1", mode="lexical")
            assert memory.search("number1", mode="dense")
    toy = Toy()
    memory = Memory.open(path, encoder=toy)
    added = memory.add([Document(text=f"Record number{n} stands.", id=str(n), source="s") for n in range(300)])
    assert (added.unchanged, added.added, len(toy.encoded)) == (before, 300 - before, 300 - before)
    assert all(check.ok for check in memory.verify())
    assert len(memory) == 300


def test_of_two_builds_at_once_one_stops_with_one_line(path):  # F36
    first, second = (start(BUILD, path) for _ in range(2))
    out = sorted(process.communicate(timeout=60)[0].strip() for process in (first, second))
    assert out[1] == "added 300 300"
    assert out[0].startswith("IndexLocked 1 ")
    assert "\n" not in out[0]
    memory = Memory.open(path, encoder=Toy())
    assert len(memory) == 300
    assert all(check.ok for check in memory.verify())


def test_two_writers_in_one_process_lock_each_other_out_too(memory, path, texts):
    class Reentrant(Toy):
        def encode_passages(self, texts, **options):
            with pytest.raises(IndexLocked):
                memory.add(Document(text="Two."))
            return super().encode_passages(texts, **options)

    Memory.open(path, encoder=Reentrant()).add(texts("One."))
    assert memory.add(texts("Two.")).passages == 2


def test_readers_in_threads_see_whole_documents_while_one_writes(path):
    memory, seen, faults = Memory.open(path, create=True, encoder=Toy()), set(), []
    document = lambda n: Document(text=f"Revision number{n} of the deed.", id="deed", source="s")  # noqa: E731
    memory.add(document(0))
    done = threading.Event()

    def read():
        reader = Memory.open(path, encoder=Toy())
        while not done.is_set():
            try:
                hits = reader.search("revision of the deed")
                seen.add(hits[0].passage.text)
                if len(hits) != 1:
                    faults.append(hits)
            except Exception as error:
                faults.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(1, 45):  # more commits than versions are kept
            memory.add(document(n))
        wait_for(lambda: "Revision number44 of the deed." in seen or faults)
        done.set()
        for thread in threads:
            thread.join()
    assert not faults
    assert len(seen) > 1


def test_after_a_fork_a_memory_says_so_at_once_and_a_new_one_works(memory, texts):  # F40
    memory.add(texts("The door is red."))
    memory.search("door")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking with threads is unwise
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        wrong = 0
        for attempt in (memory.info, lambda: memory.search("door"), lambda: memory.add(texts("x")), memory.__len__):
            try:
                attempt()
                wrong += 1
            except MemptmError:
                pass
        os._exit(wrong)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("order", "threads"), [("search-first", "4"), ("encode-first", "1")])
def test_torch_and_faiss_live_together_in_either_order(path, texts, order, threads):  # F50
    Memory.open(path, create=True, encoder=Toy()).add(texts("The door is red."))
    code = """
        def encode():
            import torch
            return float((torch.randn(300, 300) @ torch.randn(300, 300)).softmax(-1).sum())
        memory = Memory.open(sys.argv[1], encoder=Toy())
        steps = [lambda: memory.search("door"), encode]
        if sys.argv[2] == "encode-first":
            steps.reverse()
        for step in (*steps, *steps):
            assert step()
        print("fine")
    """
    out, err = start(code, path, order, env={**os.environ, "OMP_NUM_THREADS": threads}).communicate(timeout=120)
    assert (out.strip(), err) == ("fine", "")


def test_standard_output_stays_clean(path):
    code = """
        memory = Memory.open(sys.argv[1], create=True, encoder=Toy())
        memory.add([Document(text=f"Number {n}") for n in range(300)])
        memory.search("number"); memory.verify(repair=True); memory.compact(); memory.remove(where="text = 'Number 3'")
    """
    out, _ = start(code, path).communicate(timeout=60)
    assert out == ""
