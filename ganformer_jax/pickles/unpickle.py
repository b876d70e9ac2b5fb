"""A reader of pickles that imports and executes nothing that they name.

A pickle is a program for a stack machine, and Python's own reader imports whatever the program
names. This reader implements only the instructions that build data. It looks up names, exactly as
they are spelled, in a table of constructors given by the caller, and raises an error for any other
name. Byte strings are views of the file. The number of instructions is limited, and with it memory
and time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ganformer_jax.pickles.limits import Budget, PickleError, plain_key, printable

Name = tuple[str, str]  # a module and a name in it, as the pickle spells them
Constructors = Mapping[Name, Callable[..., Any]]

MAX_INTEGER_BYTES = 32


class Stateful:
    """Base of objects whose state a pickle may set after constructing them."""

    def set_state(self, state: Any) -> None:
        """Set the state; raise ValueError or TypeError if it is invalid."""
        raise TypeError("takes no state")


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """An allowed name on the stack, which the pickle may call."""

    name: Name
    construct: Callable[..., Any]


def unpickle(
    data: memoryview,
    allowed: Constructors,
    budget: Budget,
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """Read one pickle; return its object and the position after it.

    Args:
        data: Bytes that contain the pickle; byte strings of the object are views of them.
        allowed: Constructors by name. They are called with arbitrary arguments from the pickle, and
            may raise TypeError or ValueError.
        budget: Budget shared by all pickles of a file.
        persistent: Function from a persistent id to its object; None if such ids are not allowed.
        start: Position of the first byte.
    """
    machine = Machine(data, allowed, budget, persistent, start)
    try:
        return machine.run(), machine.position
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise PickleError(f"damaged pickle near byte {machine.position}") from error


@dataclasses.dataclass(eq=False)
class Machine:
    """Position in the data, stack and memo while one pickle is read."""

    data: memoryview
    allowed: Constructors
    budget: Budget
    persistent: Callable[[Any], Any] | None
    position: int
    stack: list[Any] = dataclasses.field(default_factory=list)
    below: list[list[Any]] = dataclasses.field(default_factory=list)  # stacks below open marks
    memo: dict[int, Any] = dataclasses.field(default_factory=dict)

    def run(self) -> Any:
        """Execute instructions until STOP and return the top of the stack."""
        while True:
            self.budget.spend()
            code = self.take(1)[0]
            if code == ord("."):
                return self.stack.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleError(f"pickle instruction {code:#04x} is not allowed")
            instruction(self)

    def damaged(self, reason: str) -> PickleError:
        """Return an error that names the position."""
        return PickleError(f"damaged pickle near byte {self.position}: {reason}")

    # Arguments of instructions

    def take(self, count: int) -> memoryview:
        """Return the next bytes."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise PickleError(f"cut short: {count} bytes should follow byte {self.position}")
        taken, self.position = self.data[self.position : end], end
        return taken

    def number(self, form: str) -> Any:
        """Return the next number of a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def sized(self, form: str) -> memoryview:
        """Return bytes that follow their own length, of a `struct` format."""
        return self.take(self.number(form))

    def line(self) -> str:
        """Return the text up to the end of the line."""
        line = bytearray()
        while (byte := self.take(1)[0]) != ord("\n"):
            line.append(byte)
        return line.decode()

    def integer_line(self) -> int | bool:
        """Return the integer, or boolean of protocols 0 and 1, that a line spells."""
        text = self.line()
        if text in ("00", "01"):
            return text == "01"
        if len(text) > 2 * MAX_INTEGER_BYTES:
            raise PickleError(f"an integer of {len(text)} digits")
        try:
            return int(text.rstrip("L"))
        except ValueError as error:
            raise self.damaged("not an integer") from error

    def long_integer(self, form: str) -> int:
        """Return an integer of as many bytes as a number before it says."""
        raw = self.sized(form)
        if len(raw) > MAX_INTEGER_BYTES:
            raise PickleError(f"an integer of {len(raw)} bytes")
        return int.from_bytes(raw, "little", signed=True)

    def text(self, form: str, encoding: str = "utf-8") -> str:
        """Return text that follows its length in bytes."""
        raw = self.sized(form)
        self.budget.copy(len(raw))
        return str(raw, encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def check_protocol(self) -> None:
        """Refuse protocols after 5."""
        if (version := self.number("<B")) > 5:
            raise PickleError(f"pickle protocol {version} is not known")

    def check_frame(self) -> None:
        """Refuse a frame that is longer than the data."""
        if (size := self.number("<Q")) > len(self.data) - self.position:
            raise PickleError(f"cut short: a frame of {size} bytes begins at {self.position}")

    # The stack

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Open a mark: what follows is collected until `pop_mark`."""
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Remove and return everything above the last mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def pop_last(self, count: int) -> list[Any]:
        """Remove and return the last values, in the order in which they were pushed."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def top(self, kind: type) -> Any:
        """Return the top of the stack, which must be of a type."""
        if not isinstance(self.stack[-1], kind):
            raise self.damaged(f"not a {kind.__name__}")
        return self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """Append values to the list on top."""
        self.top(list).extend(values)

    def add(self, values: list[Any]) -> None:
        """Add values to the set on top."""
        self.top(set).update([plain_key(value) for value in values])

    def store(self, items: list[Any]) -> None:
        """Store alternating keys and values in the dict on top."""
        if len(items) % 2:
            raise self.damaged("a key without a value")
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def push_dict(self) -> None:
        """Push a dict of the keys and values above the last mark."""
        items = self.pop_mark()
        self.push({})
        self.store(items)

    def memoize(self, index: int) -> None:
        """Keep the top of the stack under an index."""
        if not 0 <= index < 1 << 32:
            raise self.damaged("a memo index out of range")
        self.memo[index] = self.stack[-1]

    # Names and objects

    def find(self, module: Any, name: Any) -> None:
        """Push an allowed name."""
        found = (module, name) if isinstance(module, str) and isinstance(name, str) else None
        if found is None or found not in self.allowed:
            asked = f"{printable(module)}.{printable(name)}"
            raise PickleError(f"the file asks for {asked}: not allowed")
        self.push(Global(found, self.allowed[found]))

    def call(self, arguments: Any, keywords: Any = None) -> None:
        """Replace the name on top by the object that it constructs."""
        function = self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple) or keywords:
            raise self.damaged("a call of something other than an allowed name")
        with _refusing(f"values for {'.'.join(function.name)}"):
            self.push(function.construct(*arguments))

    def set_state(self) -> None:
        """Set the state on top to the object below it."""
        state = self.stack.pop()
        target = self.top(Stateful)
        with _refusing(f"state of {type(target).__name__}"):
            target.set_state(state)

    def load_persistent(self) -> None:
        """Replace a persistent id by its object."""
        if self.persistent is None:
            raise PickleError("the file refers to objects outside of it")
        with _refusing("reference"):
            self.push(self.persistent(self.stack.pop()))


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn the errors of constructors into those of a pickle."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise PickleError(f"wrong {what}: {error}") from error


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], Any]:
    return lambda machine: machine.push(read(machine))


INSTRUCTIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: Machine.check_protocol,
    0x95: Machine.check_frame,
    # Constants and numbers
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("I"): _push(Machine.integer_line),
    ord("L"): _push(Machine.integer_line),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    0x8A: _push(lambda m: m.long_integer("<B")),
    0x8B: _push(lambda m: m.long_integer("<i")),
    ord("G"): _push(lambda m: m.number(">d")),
    # Text and bytes
    0x8C: _push(lambda m: m.text("<B")),
    ord("X"): _push(lambda m: m.text("<I")),
    0x8D: _push(lambda m: m.text("<Q")),
    ord("U"): _push(lambda m: m.text("<B", "latin-1")),  # byte strings of Python 2
    ord("T"): _push(lambda m: m.text("<i", "latin-1")),
    ord("C"): _push(lambda m: m.sized("<B")),
    ord("B"): _push(lambda m: m.sized("<I")),
    0x8E: _push(lambda m: m.sized("<Q")),
    0x96: _push(lambda m: m.sized("<Q")),
    # Containers
    ord("("): Machine.mark,
    ord("0"): lambda m: m.stack.pop() if m.stack else m.pop_mark(),
    ord("1"): Machine.pop_mark,
    ord("2"): _push(lambda m: m.stack[-1]),
    ord(")"): _push(lambda m: ()),
    0x85: _push(lambda m: tuple(m.pop_last(1))),
    0x86: _push(lambda m: tuple(m.pop_last(2))),
    0x87: _push(lambda m: tuple(m.pop_last(3))),
    ord("t"): _push(lambda m: tuple(m.pop_mark())),
    ord("]"): _push(lambda m: []),
    ord("l"): _push(Machine.pop_mark),
    ord("a"): lambda m: m.extend(m.pop_last(1)),
    ord("e"): lambda m: m.extend(m.pop_mark()),
    ord("}"): _push(lambda m: {}),
    ord("d"): Machine.push_dict,
    ord("s"): lambda m: m.store(m.pop_last(2)),
    ord("u"): lambda m: m.store(m.pop_mark()),
    0x8F: _push(lambda m: set()),
    0x90: lambda m: m.add(m.pop_mark()),
    0x91: _push(lambda m: frozenset(plain_key(value) for value in m.pop_mark())),
    # Names and objects
    ord("c"): lambda m: m.find(m.line(), m.line()),
    0x93: lambda m: m.find(*m.pop_last(2)),
    ord("R"): lambda m: m.call(m.stack.pop()),
    0x81: lambda m: m.call(m.stack.pop()),
    0x92: lambda m: m.call(*m.pop_last(2)),
    ord("b"): Machine.set_state,
    ord("Q"): Machine.load_persistent,
    # Memo
    ord("p"): lambda m: m.memoize(m.integer_line()),
    ord("q"): lambda m: m.memoize(m.number("<B")),
    ord("r"): lambda m: m.memoize(m.number("<I")),
    0x94: lambda m: m.memoize(len(m.memo)),
    ord("g"): _push(lambda m: m.memo[m.integer_line()]),
    ord("h"): _push(lambda m: m.memo[m.number("<B")]),
    ord("j"): _push(lambda m: m.memo[m.number("<I")]),
}
