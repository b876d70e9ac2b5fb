"""The stack machine that reads pickles: what a file may cost, and what it may touch."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ganformer_jax.errors import UserError

Name = tuple[str, str]
"""A module and a name in it, as the pickle spells them."""
Constructors = Mapping[Name, Callable[..., Any]]

STOP = 0x2E
MAX_INTEGER_BYTES = 32
MAX_KEY = 1 << 16  # of an integer as a key
COPIED = 64
MAX_INSTRUCTIONS = 500_000  # a published snapshot of 32x32 images takes 46,000


class PickleError(UserError):
    """A pickle that is damaged, or holds what is not allowed; one line says which."""


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """An allowed name, before it is called."""

    name: Name
    construct: Callable[..., Any]


class Built:
    """Base of objects whose state a pickle may set after it has constructed them."""

    def build(self, state: Any) -> None:
        """Takes the state; raises ValueError or TypeError if it is not as it should be."""
        raise TypeError("takes no state")


class Budget:
    """Instructions that one file may still spend, those of pickles inside its pickles included.

    What copies bytes, or goes through a container, spends one for every `COPIED` bytes or item.

    Attributes:
        size: Bytes of the file.
        left: Instructions left.
    """

    def __init__(self, size: int, instructions: int = MAX_INSTRUCTIONS):
        self.size, self.left = size, instructions + size // COPIED

    def spend(self, instructions: int = 1) -> None:
        """Takes from what is left.

        Raises:
            PickleError: When there is not enough.
        """
        self.left -= instructions
        if self.left < 0:
            raise PickleError("the file asks for more work than any snapshot should")


class Machine:
    """Stack, memo and position of one reading."""

    def __init__(
        self,
        data: memoryview,
        allowed: Constructors,
        budget: Budget,
        persistent: Callable[[Any], Any] | None,
        start: int,
    ):
        self.data, self.position = data, start
        self.allowed, self.budget, self.persistent = allowed, budget, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lies under each open mark
        self.memo: dict[int, Any] = {}

    def run(self, instructions: Mapping[int, Callable[[Machine], None]]) -> Any:
        """Follows the pickle to its end, and returns what is then on top."""
        while True:
            self.budget.spend()
            code = self.take(1)[0]
            if code == STOP:
                return self.stack.pop()
            instruction = instructions.get(code)
            if instruction is None:
                raise PickleError(f"pickle instruction {code:#04x} is not allowed")
            instruction(self)

    # Reading arguments

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise PickleError(f"cut short: {count} bytes should follow byte {self.position}")
        taken, self.position = self.data[self.position : end], end
        return taken

    def number(self, form: str) -> Any:
        """The next number of a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to the end of the line."""
        parts = bytearray()
        while (byte := self.take(1)[0]) != 0x0A:
            parts.append(byte)
        return parts.decode()

    def sized(self, form: str) -> memoryview:
        """Bytes after their own number."""
        return self.take(self.number(form))

    # The stack

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        """Everything above the last mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def top(self, kind: type) -> Any:
        """What lies on top, if it is of a kind."""
        if not isinstance(self.stack[-1], kind):
            raise PickleError(f"damaged pickle near byte {self.position}: no {kind.__name__}")
        return self.stack[-1]

    # Instructions with more to them

    def find(self, module: Any, name: Any) -> None:
        """Pushes an allowed name."""
        found = (module, name) if isinstance(module, str) and isinstance(name, str) else None
        if found not in self.allowed:
            asked = f"{printable(module)}.{printable(name)}"
            raise PickleError(f"the file asks for {asked}: not allowed")
        assert found is not None
        self.push(Global(found, self.allowed[found]))

    def call(self, arguments: Any, keywords: Any = None) -> None:
        """Replaces the name on top by what it constructs."""
        function = self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple) or keywords:
            raise PickleError(f"the file calls what is no allowed name, near byte {self.position}")
        try:
            self.push(function.construct(*arguments))
        except (TypeError, ValueError) as error:
            raise PickleError(f"wrong values for {'.'.join(function.name)}: {error}") from error

    def build(self) -> None:
        """Sets the state of what lies below it."""
        state = self.stack.pop()
        target = self.top(Built)
        try:
            target.build(state)
        except (TypeError, ValueError) as error:
            raise PickleError(f"wrong state of {type(target).__name__}: {error}") from error

    def store(self, target: dict[Any, Any], items: list[Any]) -> None:
        """Stores keys and values that alternate."""
        if len(items) % 2:
            raise PickleError(f"damaged pickle near byte {self.position}: a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def load_persistent(self) -> None:
        """Replaces a reference by what it refers to."""
        if self.persistent is None:
            raise PickleError("the file refers to objects outside of it")
        try:
            self.push(self.persistent(self.stack.pop()))
        except (TypeError, ValueError) as error:
            raise PickleError(f"wrong reference: {error}") from error

    def text(self, raw: memoryview, encoding: str = "utf-8") -> str:
        """Decodes a copy."""
        self.budget.spend(len(raw) // COPIED)
        return str(raw, encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def remember(self, index: int) -> None:
        """Keeps what is on top for later."""
        if not 0 <= index < 1 << 32:
            raise PickleError(f"damaged pickle near byte {self.position}: no place to keep")
        self.memo[index] = self.stack[-1]


def plain_key(key: Any) -> Hashable:
    """A key that hashes in no time: nested tuples, or chosen integers, could take forever."""
    if key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < MAX_KEY):
        return key
    raise PickleError(f"a dictionary key or set element of type {type(key).__name__}")


def printable(value: Any) -> str:
    """Text for a message: printable, on one line and short."""
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:80])
