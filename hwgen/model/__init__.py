"""The model description: reading, checking, writing, and its integer graph."""

from .model import Model, load_model, save_description

__all__ = ["Model", "load_model", "save_description"]
