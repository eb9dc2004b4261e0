"""What commands print: results on standard output, progress on standard error."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from threading import Timer
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["print_json", "print_result", "progress"]

PROGRESS_DELAY = 2.0  # seconds before a progress bar shows
PIPE_WIDTH = 200  # columns of a table that goes into a file or a pipe


@contextmanager
def progress(what: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal once two seconds have passed; it swings until a count comes in."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    bar = Progress(TextColumn(what), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
                   TimeElapsedColumn(), console=console, transient=True)
    task = bar.add_task(what, total=None)
    timer = Timer(PROGRESS_DELAY, bar.start)
    timer.start()
    try:
        yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def print_result(content: Any) -> None:
    """Print a table, or whatever Rich can show."""
    console = Console()
    if console.is_terminal:
        console.print(content)
        return
    # Where there is no screen, a table keeps its width, and has no blanks at the ends of lines.
    text = StringIO()
    Console(file=text, width=PIPE_WIDTH).print(content)
    print("\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines()))


def print_json(content: Any) -> None:
    """Print the result as JSON."""
    print(json.dumps(content, indent=2))
