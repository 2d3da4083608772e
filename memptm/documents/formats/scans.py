"""Pages that are pictures: their text by Tesseract, where that program is installed."""

from __future__ import annotations

import io
import shutil
import subprocess
from typing import Any

_DOTS_PER_INCH = 300
_SECONDS = 120  # for one page


def can_read() -> bool:
    """Whether the program ``tesseract`` is installed."""
    return shutil.which("tesseract") is not None


def read(page: Any) -> str:
    """The text of a page of pypdfium2, "" where nothing can be read."""
    image = page.render(scale=_DOTS_PER_INCH / 72).to_pil()
    data = io.BytesIO()
    image.save(data, "PNG")
    try:
        done = subprocess.run(  # noqa: S603 (the picture goes to standard input, nothing of it to the command line)
            [shutil.which("tesseract") or "tesseract", "stdin", "stdout"],
            input=data.getvalue(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").replace("\f", "").strip() if done.returncode == 0 else ""
