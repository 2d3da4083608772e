"""Keys that follow an encoder: whole versions only, at steps settled in advance, whatever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from memptm.errors import MemptmError
from memptm.training.runtime.refresh import Refresh, Versions
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from tests.encoders.tiny import encoder as tiny

TEXTS = [f"Passage {n} tells of otters, kelp and the sea." for n in range(700)]
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def refresh(tmp_path):
    made = Refresh(tmp_path / "refresh", TEXTS, run=tmp_path)
    yield made
    made.close()


def writer(encoder, scale=1.0):
    trainable = TrainableEncoder(encoder, dropout=0.0)
    with torch.no_grad():
        for parameter in trainable.trained():
            parameter.mul_(scale)
    return lambda folder: encoder.write(trainable.bert, folder)


def test_a_process_of_its_own_embeds_with_the_weights_it_was_given(refresh, encoder):
    refresh.start(10, writer(encoder))
    keys = refresh.take(10)
    assert np.allclose(keys, encoder.encode_passages(TEXTS), atol=0.02)  # its precision may be lower
    refresh.start(20, writer(encoder, scale=1.5))
    assert not np.allclose(refresh.take(20), keys, atol=0.02)
    assert np.array_equal(refresh.take(10), keys)


def test_a_killed_process_is_begun_again_and_goes_on_from_its_parts(refresh, encoder, tmp_path):
    refresh.start(10, writer(encoder))
    _, process = refresh._running
    parts = tmp_path / "refresh" / "parts-10"
    while not list(parts.rglob("*.npz")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    known = {path: path.stat().st_mtime_ns for path in parts.rglob("*.npz")}
    if process.returncode == KILLED:
        assert not (tmp_path / "refresh" / "keys-10.npy").exists()
        assert known
    keys = refresh.take(10)
    assert len(keys) == len(TEXTS)
    assert np.allclose(keys, encoder.encode_passages(TEXTS), atol=0.02)


def test_ctrl_c_is_the_trainers_alone(refresh, encoder):
    refresh.start(10, writer(encoder))
    _, process = refresh._running
    assert os.getpgid(process.pid) != os.getpgid(0)


def test_one_that_keeps_dying_is_reported_with_its_last_words(refresh, encoder, tmp_path):
    def broken(folder):
        encoder.write(TrainableEncoder(encoder, dropout=0.0).bert, folder)
        (folder / "model.safetensors").write_bytes(b"not weights")

    refresh.start(10, broken)
    with pytest.raises(MemptmError, match=r"failed 3 times: .*Error"):
        refresh.take(10)
    assert not (tmp_path / "refresh" / "keys-10.npy").exists()


def test_the_process_ends_with_its_parent(tmp_path, encoder):
    writer(encoder)(tmp_path / "refresh" / "encoder-1")
    script = f"""if True:
        from pathlib import Path
        from memptm.training.runtime.refresh import Refresh
        made = Refresh(Path({str(tmp_path / "refresh")!r}), {TEXTS!r}, run=Path({str(tmp_path)!r}))
        made.start(1, None)
        print(made._running[1].pid)
    """
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    child = int(ended.stdout)
    for _ in range(600):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("it still runs")
    assert not (tmp_path / "refresh" / "keys-1.npy").exists()


class Recorded:
    """In place of the process: what was asked, and keys that say which version they are."""

    def __init__(self):
        self.asked = []

    def start(self, step, write):
        if ("start", step) not in self.asked:
            self.asked.append(("start", step))

    def take(self, step):
        self.asked.append(("take", step))
        return np.full((2, 3), step, np.float32)

    def forget(self, before):
        self.asked.append(("forget", before))


def test_a_step_alone_settles_which_version_it_searches():
    asked = Recorded()
    versions = Versions(torch.zeros(2, 3), asked, 10, write=lambda folder: None)
    seen = {}
    for step in range(1, 41):
        keys, stale = versions.at(step)
        seen[step] = int(keys[0, 0])
        assert bool((keys == seen[step]).all())  # never a mixture
        assert stale == step - 1 - seen[step] <= 20
    assert [seen[step] for step in (1, 20, 21, 30, 31, 40)] == [0, 0, 10, 10, 20, 20]
    assert [one for one in asked.asked if one[0] == "take"] == [("take", 10), ("take", 20)]
    assert [step for what, step in asked.asked if what == "start"] == [10, 20, 30]
    for step in (15, 25, 35):  # a run that goes on from there
        again = Versions(torch.zeros(2, 3), Recorded(), 10, write=lambda folder: None)
        assert int(again.at(step)[0][0, 0]) == seen[step]


def test_what_a_run_that_goes_on_needs_is_kept(refresh, encoder, tmp_path):
    versions = Versions(torch.zeros(700, 32), refresh, 10, write=writer(encoder))
    for step in (11, 21, 31):
        versions.at(step)
        versions.saved(step - 1)
    names = {path.name for path in (tmp_path / "refresh").glob("encoder-*")}
    assert names == {"encoder-10", "encoder-20", "encoder-30"}  # step 31 searches 20; a run from step 30 on searches 10
    versions.saved(31)
    assert {path.name for path in (tmp_path / "refresh").glob("encoder-*")} == {"encoder-20", "encoder-30"}
    versions.close()


def test_without_a_refresh_the_keys_stay():
    versions = Versions(torch.ones(2, 3))
    keys, stale = versions.at(500)
    assert (float(keys.sum()), stale) == (6.0, 499)
