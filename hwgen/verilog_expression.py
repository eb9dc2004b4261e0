"""Expressions of the Verilog that Yosys writes: their parts, and the widths they have there.

The width of an operand depends on what stands around it (IEEE 1364, chapter 5): most operators
evaluate their operands at the width of the whole, which the place of assignment may widen.
"""

import re
from dataclasses import dataclass, field

__all__ = ["Module", "Signal", "Tree", "UnknownError", "find", "parse"]


@dataclass
class Signal:
    """A declared name of a module."""

    width: int
    is_port: bool
    is_register: bool
    fixed: bool  # has an attribute or is a memory: stays where and what it is
    machine: bool  # named by a tool


@dataclass
class Module:
    lines: list[str]
    signals: dict[str, Signal] = field(default_factory=dict)


class UnknownError(Exception):
    """Something that this module does not know; it stays as it is."""


@dataclass
class Tree:
    """An expression: its own width, and its operands with the rule for their widths."""

    width: int
    start: int
    end: int
    op: str = ""  # "" for what binds closest: a name, a part of it, a literal, brackets
    name: str | None = None
    # (operand, whether it is evaluated at its own width); else it is at that of the whole
    parts: list[tuple["Tree", bool]] = field(default_factory=list)
    pair: tuple["Tree", ...] = ()  # operands of a comparison: evaluated at their common width
    signed: bool = False  # has something signed in it


_LEXER = re.compile(r"\s*(?:(?P<literal>\d+)'(?P<sign>s?)[hbdo][0-9a-fxzA-F_?]+"
                    r"|(?P<name>\$(?:un)?signed\b|[A-Za-z_][\w$]*)|(?P<number>\d+)"
                    r"|(?P<op>>>>|<<<|===|!==|<<|>>|<=|>=|==|!=|&&|\|\||~\^|[-+*/%&|^~!<>?:(){}\[\],]))")
_LEVELS = (("||",), ("&&",), ("|",), ("^", "~^"), ("&",), ("==", "!=", "===", "!=="),
           ("<", "<=", ">", ">="), ("<<", ">>", "<<<", ">>>"), ("+", "-"), ("*", "/", "%"))


def parse(module: Module, text: str) -> Tree:
    return _Parser(module, text).whole()


class _Parser:
    """Parser of expressions; gives :class:`Tree` or UnknownError."""

    def __init__(self, module: Module, text: str):
        self.module, self.at = module, 0
        self.tokens: list[re.Match] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            found = _LEXER.match(text, place)
            if not found:
                raise UnknownError
            self.tokens.append(found)
            place = found.end()

    def whole(self) -> Tree:
        tree = self.choice()
        if self.at != len(self.tokens):
            raise UnknownError
        return tree

    def peek(self) -> str:
        return self.tokens[self.at][0].strip() if self.at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> re.Match:
        if not self.peek() or (wanted is not None and self.peek() != wanted):
            raise UnknownError
        self.at += 1
        return self.tokens[self.at - 1]

    def choice(self) -> Tree:
        condition = self.binary(0)
        if self.peek() != "?":
            return condition
        self.take()
        yes = self.choice()
        self.take(":")
        no = self.choice()
        return Tree(max(yes.width, no.width), condition.start, no.end, "?",
                     parts=[(condition, True), (yes, False), (no, False)],
                     signed=condition.signed or yes.signed or no.signed)

    def binary(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            op = self.take()[0].strip()
            right = self.binary(level + 1)
            tree = Tree(max(left.width, right.width), left.start, right.end, op,
                         signed=left.signed or right.signed)
            if op in ("&&", "||"):
                tree.width, tree.parts = 1, [(left, True), (right, True)]
            elif op in _LEVELS[5] + _LEVELS[6]:
                tree.width, tree.pair = 1, (left, right)
            elif op in _LEVELS[7]:
                tree.width, tree.parts = left.width, [(left, False), (right, True)]
            else:
                tree.parts = [(left, False), (right, False)]
            left = tree
        return left

    def unary(self) -> Tree:
        op = self.peek()
        if op not in ("~", "-", "+", "!", "&", "|", "^"):
            return self.primary()
        start = _begin(self.take())
        inner = self.unary()
        alone = op not in ("~", "-", "+")
        return Tree(1 if alone else inner.width, start, inner.end, op, parts=[(inner, alone)],
                     signed=inner.signed)

    def primary(self) -> Tree:
        found = self.take()
        start, end = _begin(found), found.end()
        if found["literal"]:
            return Tree(int(found["literal"]), start, end, signed=bool(found["sign"]))
        if found["name"]:
            return self.named(found["name"], start, end)
        text = found[0].strip()
        if text == "(":
            inner = self.choice()
            return Tree(inner.width, start, self.take(")").end(), parts=[(inner, False)],
                         signed=inner.signed)
        if text == "{":
            return self.concatenation(start)
        raise UnknownError

    def named(self, name: str, start: int, end: int) -> Tree:
        if name in ("$signed", "$unsigned"):
            self.take("(")
            inner = self.choice()
            end = self.take(")").end()
            return Tree(inner.width, start, end, parts=[(inner, True)], signed=True)
        signal = self.module.signals.get(name)
        if signal is None or signal.fixed:
            raise UnknownError
        if self.peek() != "[":
            return Tree(signal.width, start, end, name=name)
        self.take()
        high = self.take()
        low = high
        if self.peek() == ":":
            self.take()
            low = self.take()
        if not (high["number"] and low["number"]):
            raise UnknownError
        end = self.take("]").end()
        return Tree(int(high["number"]) - int(low["number"]) + 1, start, end)

    def concatenation(self, start: int) -> Tree:
        found = self.tokens[self.at] if self.peek() else None
        if found and found["number"]:
            self.take()
            self.take("{")
            inner = self.concatenation(start)
            return Tree(int(found["number"]) * inner.width, start, self.take("}").end(),
                         parts=inner.parts)
        parts = [(self.choice(), True)]
        while self.peek() == ",":
            self.take()
            parts.append((self.choice(), True))
        return Tree(sum(part.width for part, _ in parts), start, self.take("}").end(),
                     parts=parts)


def _begin(found: re.Match) -> int:
    return found.end() - len(found[0].lstrip())


def find(tree: Tree, parent: Tree | None, name: str, size: int, alone: bool = False
          ) -> tuple[Tree, Tree, int, bool] | None:
    """The operand that is ``name``, the expression around it, the width at which it is evaluated,
    and whether that is its own."""
    if tree.name == name:
        return tree, parent or tree, size, alone
    for part, own in tree.parts:
        if found := find(part, tree, name, part.width if own else size, own):
            return found
    for part in tree.pair:
        if found := find(part, tree, name, max(p.width for p in tree.pair)):
            return found
    return None
