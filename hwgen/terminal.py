"""What commands print: results on standard output, progress on standard error."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from threading import Timer
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Talk", "print_json", "print_result", "progress"]

PROGRESS_DELAY = 2.0  # seconds before a progress bar shows
PIPE_WIDTH = 200  # columns of a table that goes into a file or a pipe


class Talk:
    """What a long command says of itself: a bar on a terminal, and with ``verbose`` a line for
    each step."""

    def __init__(self, console: Console, verbose: bool, bar: Progress | None = None):
        self._console, self._verbose, self._bar = console, verbose, bar

    def count(self, done: int, total: int) -> None:
        """So much of all is done: moves the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def on_step(self, name: str, seconds: float) -> None:
        """A step is done and took so long."""
        if self._verbose:
            self._console.print(f"{seconds:7.2f} s  {name}", markup=False, highlight=False,
                                soft_wrap=True)
        elif self._bar is not None:
            self._bar.update(self._bar.task_ids[0], step=f"after {name}")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What runs within is a step."""
        begun = perf_counter()
        yield
        self.on_step(name, perf_counter() - begun)


@contextmanager
def progress(what: str, verbose: bool = False) -> Iterator[Talk]:
    """A bar on the terminal once two seconds have passed; it swings until a count comes in."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Talk(console, verbose)
        return
    bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(),
                   TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
                   TextColumn("{task.fields[step]}", markup=False), console=console,
                   transient=True)
    bar.add_task(what, total=None, step="")
    timer = Timer(PROGRESS_DELAY, bar.start)
    timer.start()
    try:
        yield Talk(console, verbose, bar)
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
