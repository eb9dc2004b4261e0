"""Arguments and options that several commands share."""

import cProfile
from collections.abc import Callable
from functools import wraps
from math import isfinite
from pathlib import Path

import click

from .files import check_writable
from .input_type import parse_input_type

__all__ = ["Count", "InputType", "Number", "array_options", "folder_argument", "input_type_option",
           "json_option", "labels_option", "long_running", "model_argument", "stall_options"]


class Number(click.FloatRange):
    """A finite number; click's own type takes nan and calls itself a float range."""

    name = "number"

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Count(click.IntRange):
    name = "whole number"


class InputType(click.ParamType):
    name = "input type"

    def convert(self, value, param, ctx):
        try:
            parse_input_type(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


def model_argument(function: Callable) -> Callable:
    return click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")(function)


def folder_argument(function: Callable) -> Callable:
    return click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")(function)


def json_option(function: Callable) -> Callable:
    return click.option("--json", "as_json", is_flag=True,
                        help="Print the result as JSON.")(function)


def input_type_option(function: Callable) -> Callable:
    return click.option("--input-type", type=InputType(), metavar="TYPE[:SCALE]",
                        help="How the host quantizes the input of an ONNX network that does not "
                        "quantize it itself, e.g. INT16:0.0009765625.")(function)


def labels_option(function: Callable) -> Callable:
    return click.option("--labels", "labels_file", type=click.Path(path_type=Path),
                        metavar="FILE.npy", help="One class per frame: print top-1 accuracy.",
                        )(function)


def array_options(function: Callable) -> Callable:
    for option in (
            click.option("--raw", is_flag=True, help="Arrays hold integers, not real values."),
            click.option("--output", "output_file", required=True, metavar="FILE.npy",
                         type=click.Path(path_type=Path), help="Where to write the output."),
            click.option("--input", "input_file", required=True, metavar="FILE.npy",
                         type=click.Path(path_type=Path),
                         help="Frames: [frames] + the model's own input shape.")):
        function = option(function)
    return function


def long_running(function: Callable) -> Callable:
    """``-v``, which the command gets as ``verbose``, and ``--profile``."""
    @wraps(function)
    def profiled(*arguments, profile_file: Path | None, **options):
        if profile_file is None:
            return function(*arguments, **options)
        check_writable(profile_file)
        profile = cProfile.Profile()
        try:
            return profile.runcall(function, *arguments, **options)
        finally:
            profile.dump_stats(profile_file)

    for option in (
            click.option("--profile", "profile_file", type=click.Path(path_type=Path),
                         metavar="FILE", help="Write a profile, for `python -m pstats FILE`."),
            click.option("-v", "--verbose", is_flag=True, help="Say what takes which time.")):
        profiled = option(profiled)
    return profiled


def stall_options(default: float) -> Callable:
    def add(function: Callable) -> Callable:
        function = click.option("--seed", type=int, default=0, help="Seed of the stalls.")(function)
        return click.option("--stall", type=Number(0, 1, max_open=True), default=default,
                            metavar="P", help="Probability in each clock that an end of the "
                            "design stalls.")(function)
    return add
