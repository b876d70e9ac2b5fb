"""Reads pickles without trusting them: an interpreter that imports nothing and calls no stranger.

A pickle is a program for a stack machine, and Python's own machine imports whatever the program
names. This one knows the instructions that build data; a name is a key into a table of
constructors that the caller gives, compared exactly, and any other name ends the reading. Bytes
are views of the file, and the number of instructions has a limit, so that no small file can ask
for much memory or time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ganformer_jax.convert.pickle_machine import (
    MAX_INTEGER_BYTES,
    Budget,
    Constructors,
    Machine,
    PickleError,
    plain_key,
)


def unpickle(
    data: memoryview,
    allowed: Constructors,
    budget: Budget,
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """Reads one pickle.

    Args:
        data: Bytes that hold it.
        allowed: What may be constructed; the functions get whatever arguments the pickle has,
            and may raise TypeError or ValueError.
        budget: Shared by all pickles of a file.
        persistent: Turns a persistent id into an object; None where there should be none.
        start: Where the pickle begins.

    Returns:
        The object, whose byte strings are views of `data`, and where the pickle ends.

    Raises:
        PickleError: On anything that is not such a pickle.
    """
    machine = Machine(data, allowed, budget, persistent, start)
    try:
        return machine.run(INSTRUCTIONS), machine.position
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise PickleError(f"damaged pickle near byte {machine.position}") from error


def _integer(raw: memoryview) -> int:
    if len(raw) > MAX_INTEGER_BYTES:
        raise PickleError(f"an integer of {len(raw)} bytes")
    return int.from_bytes(raw, "little", signed=True)


def _integer_line(text: str) -> int | bool:
    if text in ("00", "01"):  # how protocol 0 and 1 spell booleans
        return text == "01"
    if len(text) > 2 * MAX_INTEGER_BYTES:
        raise PickleError(f"an integer of {len(text)} digits")
    try:
        return int(text.rstrip("L"))
    except ValueError as error:
        raise PickleError("damaged pickle: no integer where one should be") from error


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def instruction(machine: Machine) -> None:
        parts = [machine.stack.pop() for _ in range(count)]
        machine.push(tuple(reversed(parts)))

    return instruction


def _mark(machine: Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.top(list).append(value)


def _appends(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.top(list).extend(values)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.store(machine.top(dict), [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.store(machine.top(dict), items)


def _dict(machine: Machine) -> None:
    made: dict[Any, Any] = {}
    machine.store(made, machine.pop_mark())
    machine.push(made)


def _add_items(machine: Machine) -> None:
    values = [plain_key(value) for value in machine.pop_mark()]
    machine.top(set).update(values)


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.find(module, name)


def _new_object(machine: Machine) -> None:
    machine.call(machine.stack.pop())


def _new_object_with_keywords(machine: Machine) -> None:
    keywords, arguments = machine.stack.pop(), machine.stack.pop()
    machine.call(arguments, keywords)


def _pushes(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(read(machine))


def _text(form: str, encoding: str = "utf-8") -> Callable[[Machine], None]:
    return _pushes(lambda machine: machine.text(machine.sized(form), encoding))


def _check_protocol(version: int) -> None:
    if version > 5:
        raise PickleError(f"pickle protocol {version} is not known")


def _check_frame(machine: Machine, size: int) -> None:
    if machine.position + size > len(machine.data):
        raise PickleError(f"cut short: a frame of {size} bytes begins at {machine.position}")


INSTRUCTIONS: dict[int, Callable[[Machine], None]] = {
    0x80: lambda m: _check_protocol(m.take(1)[0]),
    0x95: lambda m: _check_frame(m, m.number("<Q")),
    # Constants and numbers
    ord("N"): _pushes(lambda m: None),
    0x88: _pushes(lambda m: True),
    0x89: _pushes(lambda m: False),
    ord("I"): _pushes(lambda m: _integer_line(m.line())),
    ord("L"): _pushes(lambda m: _integer_line(m.line())),
    ord("J"): _pushes(lambda m: m.number("<i")),
    ord("K"): _pushes(lambda m: m.number("<B")),
    ord("M"): _pushes(lambda m: m.number("<H")),
    0x8A: _pushes(lambda m: _integer(m.sized("<B"))),
    0x8B: _pushes(lambda m: _integer(m.sized("<i"))),
    ord("G"): _pushes(lambda m: m.number(">d")),
    # Text and bytes
    0x8C: _text("<B"),
    ord("X"): _text("<I"),
    0x8D: _text("<Q"),
    ord("U"): _text("<B", "latin-1"),  # byte strings of Python 2
    ord("T"): _text("<i", "latin-1"),
    ord("C"): _pushes(lambda m: m.sized("<B")),
    ord("B"): _pushes(lambda m: m.sized("<I")),
    0x8E: _pushes(lambda m: m.sized("<Q")),
    0x96: _pushes(lambda m: m.sized("<Q")),
    # Containers
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): _pushes(lambda m: m.stack[-1]),
    ord(")"): _pushes(lambda m: ()),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    ord("t"): _pushes(lambda m: tuple(m.pop_mark())),
    ord("]"): _pushes(lambda m: []),
    ord("l"): _pushes(lambda m: m.pop_mark()),
    ord("a"): _append,
    ord("e"): _appends,
    ord("}"): _pushes(lambda m: {}),
    ord("d"): _dict,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: _pushes(lambda m: set()),
    0x90: _add_items,
    0x91: _pushes(lambda m: frozenset(plain_key(value) for value in m.pop_mark())),
    # Names and objects
    ord("c"): lambda m: m.find(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): _new_object,
    0x81: _new_object,
    0x92: _new_object_with_keywords,
    ord("b"): Machine.build,
    ord("Q"): Machine.load_persistent,
    # Memo
    ord("p"): lambda m: m.remember(int(_integer_line(m.line()))),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): _pushes(lambda m: m.memo[int(_integer_line(m.line()))]),
    ord("h"): _pushes(lambda m: m.memo[m.number("<B")]),
    ord("j"): _pushes(lambda m: m.memo[m.number("<I")]),
}
