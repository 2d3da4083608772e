"""How the learning rate goes, and what a run that needs too much memory says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from memptm.errors import MemptmError


def warm_cosine(step: int, total: int, warm_up: float) -> float:
    """From 0 up in a line over the share ``warm_up`` of the run, then down by half a cosine to 2 %.

    Args:
        step: counted from 1.
        total: steps of the run.
        warm_up: from 0 to 1.
    """
    warm = max(1, int(warm_up * total))
    if step <= warm:
        return step / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def warm_linear(step: int, total: int, warm_up: float) -> float:
    """From 0 up in a line over the share ``warm_up`` of the run, then down in a line to 2 %.

    Args:
        step: counted from 1.
        total: steps of the run.
        warm_up: from 0 to 1.
    """
    warm = max(1, int(warm_up * total))
    return min(step / warm, max(0.02, (total - step + 1) / max(1, total - warm)))


@contextmanager
def memory_errors(remedy: str) -> Iterator[None]:
    """Turn a lack of memory into one line that ends with ``remedy``.

    Raises:
        MemptmError: memory ran out, on the CPU or a GPU.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MemptmError(f"Memory ran out. {remedy}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what torch says on a CPU
            raise
        raise MemptmError(f"Memory ran out. {remedy}") from error
