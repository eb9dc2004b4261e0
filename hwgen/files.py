"""Data folders of the project: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

__all__ = ["data_folder"]

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """Folder ``rtl_templates``, ``sim``, ``boards`` or ``examples``."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
