"""A terminal in a test: what a person sees of what a program writes to it."""

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
import threading


@contextlib.contextmanager
def terminal(monkeypatch, rows=24, columns=160):
    """Make standard output and error a terminal; yields the lines that it shows, once it ended."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    written, lines = bytearray(), []

    def read():
        with contextlib.suppress(OSError):  # EIO, when the other end is closed
            while chunk := os.read(master, 1024):
                written.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch:
        streams = [os.fdopen(handle, "w", buffering=1) for handle in (slave, os.dup(slave))]
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        yield lines
        for stream in streams:
            stream.close()
    reader.join()
    os.close(master)
    lines += screen(written.decode())


def screen(text):
    """The lines that a terminal shows after carriage returns and moves up."""
    lines, row, column = [""], 0, 0
    text = text.replace("\r\n", "\n").replace("\x1b[A", "\x00")
    for character in text:
        if character == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif character == "\r":
            column = 0
        elif character == "\x00":
            row -= 1
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
