"""Files: the project's data folders, and arrays written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .errors import HwgenError, ModelError

__all__ = ["check_writable", "data_folder", "load_array", "render_template", "save_array",
           "write_text"]

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """Folder ``rtl_templates``, ``sim``, ``boards`` or ``examples``.

    It lies beside the package in a checkout, and inside it in an installed wheel.
    """
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def render_template(name: str, values: Mapping[str, Any]) -> str:
    """A file of ``rtl_templates`` with its placeholders filled in."""
    environment = Environment(loader=FileSystemLoader(data_folder("rtl_templates")),
                              undefined=StrictUndefined, keep_trailing_newline=True,
                              trim_blocks=True, lstrip_blocks=True, autoescape=False)
    return environment.get_template(name).render(values)


def check_writable(path: Path) -> None:
    """HwgenError unless a file of this name can be written: before the work, not after it."""
    folder = path.parent
    if path.is_dir():
        raise HwgenError(f"{path}: is a folder; give the name of a file")
    if not folder.is_dir():
        raise HwgenError(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HwgenError(f"{path}: can't be written: no permission in {folder}")


def load_array(path: str | Path) -> np.ndarray:
    """The array of an ``.npy`` file; ModelError unless it holds one."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError):
        raise ModelError(f"{path}: not a NumPy array file; write one with numpy.save") from None
    if isinstance(array, np.ndarray):
        return array
    with array:
        raise ModelError(f"{path}: holds several arrays ({', '.join(array.files)}); write one with "
                         f"numpy.save")


def write_text(path: Path, text: str) -> None:
    """Write a text file; an old file of that name stays whole until the new one is."""
    with _replacing(path) as file:
        file.write(text.encode())


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` when it is written."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(draft, 0o644)  # mkstemp lets only its owner read
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an ``.npy`` file; an old file of that name stays whole until the new one is."""
    check_writable(path)
    try:
        with _replacing(path) as file:
            np.save(file, array)
    except OSError as error:
        raise HwgenError(f"{path}: can't be written: {error.strerror}") from None
