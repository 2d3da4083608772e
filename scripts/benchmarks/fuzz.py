"""Damaged files of every format: each is read, or refused in one line, within bounded time and memory.

    python -m scripts.benchmarks.fuzz [--files DIR]... [--count 2000]

Log: scripts/results/fuzz.jsonl. Mutations: cut short, bytes flipped, stretches doubled or taken from another file, wrong
names, archives in archives, archives that unpack to much. A file that needs more than its share of time or memory, or
raises anything but a refusal of one line, is written to --failures with the reason.
"""

from __future__ import annotations

import io
import random
import resource
import shutil
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from scripts.runs import RESULTS, Runs

OWN = Path(__file__).resolve().parents[2] / "tests" / "documents" / "files"
SECONDS = 30
MEMORY = 3 << 30  # bytes of address space above what the process has at its start


def mutated(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """(kind of mutation, the file after it)."""
    kind = chance.choice(["cut", "flip", "double", "splice", "zero", "nest", "bomb", "member"])
    at = chance.randrange(max(len(data), 1))
    if kind == "cut":
        return kind, data[:at]
    if kind == "flip":
        changed = bytearray(data)
        for _ in range(chance.choice([1, 4, 64])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return kind, bytes(changed)
    if kind == "double":
        stretch = data[at : at + chance.choice([16, 1000, 50_000])]
        return kind, data[:at] + stretch * chance.choice([2, 50]) + data[at:]
    if kind == "splice":
        return kind, data[:at] + other[chance.randrange(max(len(other), 1)) :]
    if kind == "zero":
        return kind, data[:at] + bytes(chance.choice([1, 100, 10_000])) + data[at:]
    if kind == "member" and data[:2] == b"PK":
        return kind, _member_changed(data, chance)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for n in range(chance.choice([1, 3])):
            written.writestr(
                f"{n}/inner.zip" if kind == "nest" else f"{n}.xml", data if kind == "nest" else bytes(40 << 20)
            )
    return kind, archive.getvalue()


def _member_changed(data: bytes, chance: random.Random) -> bytes:
    """One file of an archive damaged, so that the damage lies behind the checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError):
        return data[: len(data) // 2]
    name = chance.choice(sorted(members))
    content = bytearray(members[name])
    for _ in range(chance.choice([1, 20])):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(32, 127)
    members[name] = bytes(content) if chance.random() < 0.7 else bytes(content) * 3
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, inner in members.items():
            archive.writestr(member, inner)
    return written.getvalue()


def attempt(path: Path) -> tuple[str, float]:
    """("read", "refused" or what went wrong, seconds)."""
    from memptm.documents.load import Refused, load
    from memptm.documents.split import split

    began = time.perf_counter()
    signal.alarm(SECONDS)
    try:
        for document in load(path, warn=lambda _: None):
            split(document)
        outcome = "read"
    except Refused as refused:
        outcome = "refused" if "\n" not in str(refused) else f"a refusal of several lines: {refused!r}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    return outcome, time.perf_counter() - began


def _bounded() -> None:
    from memptm.documents import load  # noqa: F401 (what is imported is not the files' doing)

    with Path("/proc/self/statm").open() as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, _too_slow)


def _too_slow(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def cases(seeds: list[Path], folder: Path, count: int, seed: int) -> Iterator[tuple[Path, str]]:
    chance = random.Random(seed)
    endings = sorted({path.suffix for path in seeds})
    for n in range(count):
        one, other = chance.choice(seeds), chance.choice(seeds)
        kind, data = mutated(one.read_bytes(), other.read_bytes(), chance)
        ending = chance.choice(endings) if chance.random() < 0.1 else one.suffix
        path = folder / f"{n}{ending}"
        path.write_bytes(data)
        yield path, kind


@click.command()
@click.option("--files", "folders", multiple=True, type=click.Path(exists=True, path_type=Path), default=[OWN])
@click.option("--count", default=2000, help="Files to make.")
@click.option("--seed", default=0)
@click.option("--failures", type=click.Path(path_type=Path), default=Path("runs/fuzz"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(folders: tuple[Path, ...], count: int, seed: int, failures: Path, out: Path) -> None:
    """Write OUT/fuzz.jsonl; exit code 1 if a file was neither read nor refused."""
    seeds = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    shutil.rmtree(failures / "made", ignore_errors=True)
    (failures / "made").mkdir(parents=True)
    made = list(cases(seeds, failures / "made", count, seed))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with get_context("spawn").Pool(1, _bounded) as pool:
        for (path, kind), (outcome, seconds) in zip(made, pool.imap(attempt, [path for path, _ in made]), strict=True):
            slowest = max(slowest, seconds)
            outcomes[outcome if outcome in ("read", "refused") else "failed"] += 1
            if outcome in ("read", "refused"):
                path.unlink()
            else:
                click.echo(f"{path} ({kind}): {outcome}")
    metrics = {**{name: outcomes[name] for name in ("read", "refused", "failed")}, "slowest s": round(slowest, 1)}
    formats = ", ".join(sorted({path.suffix.lstrip(".") for path in seeds}))
    Runs(out / "fuzz.jsonl").append({"files": count, "formats": formats}, seed, metrics)
    click.echo(str(metrics))
    raise SystemExit(bool(outcomes["failed"]))


if __name__ == "__main__":
    main()
