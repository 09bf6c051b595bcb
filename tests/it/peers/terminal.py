"""Runs a command on a pseudo-terminal, has it leave in one of several ways, and holds it to what a terminal expects.

terminal.py WAY_OUT COMMAND...; WAY_OUT is a key (q, escape), or the name of a signal.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

DEADLINE = 15
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Watched:
    def __init__(self, command):
        self.terminal, self.side = pty.openpty()
        resize(self.terminal, 30, 100)
        self.modes = termios.tcgetattr(self.side)
        self.text = b""
        self.process = os.fork()
        if self.process == 0:
            os.setsid()
            fcntl.ioctl(self.side, termios.TIOCSCTTY, 0)
            for descriptor in range(3):
                os.dup2(self.side, descriptor)
            os.execv(command[0], command)

    def read(self, wait):
        if select.select([self.terminal], [], [], wait)[0]:
            self.text += os.read(self.terminal, 65536)

    def until(self, what, found):
        deadline = time.monotonic() + DEADLINE
        while not found():
            if time.monotonic() > deadline:
                raise SystemExit(f"never happened: {what}; drawn: {self.text[-2000:]!r}")
            self.read(0.1)

    def drawn(self, piece):
        self.until(f"{piece!r} is drawn", lambda: piece in self.text)

    def ended(self):
        done, self.status = os.waitpid(self.process, os.WNOHANG | os.WUNTRACED)
        return done != 0


def main():
    way_out, *command = sys.argv[1:]
    watched = Watched(command)
    watched.drawn(ENTER)
    watched.drawn(b"sockets 1 open")
    watched.drawn(b"DEFAULT:API01")
    if termios.tcgetattr(watched.side)[3] & (termios.ICANON | termios.ECHO):
        raise SystemExit("keys wait for Enter")
    os.write(watched.terminal, b"s")
    watched.drawn(b"MSG/S IN*")
    # Narrower: no line is wider than the terminal is now.
    resize(watched.terminal, 12, 40)
    watched.until("a picture of forty columns", lambda: fits(watched, 40, 12))
    if way_out in ("q", "escape"):
        os.write(watched.terminal, {"q": b"q", "escape": b"\x1b"}[way_out])
    else:
        os.kill(watched.process, getattr(signal, f"SIG{way_out}"))
    watched.until("the end", watched.ended)
    watched.drawn(LEAVE)
    if termios.tcgetattr(watched.side)[3] != watched.modes[3]:
        raise SystemExit("the terminal's modes are not what they were")
    if way_out == "TSTP":
        assert os.WIFSTOPPED(watched.status), watched.status
        watched.text = b""
        os.kill(watched.process, signal.SIGCONT)
        watched.drawn(ENTER)
        os.write(watched.terminal, b"q")
        watched.until("the end", watched.ended)
    if way_out in ("TERM", "HUP"):
        assert os.WTERMSIG(watched.status) == getattr(signal, f"SIG{way_out}"), watched.status
    else:
        assert os.WIFEXITED(watched.status) and os.WEXITSTATUS(watched.status) == 0, watched.status


def fits(watched, columns, rows):
    """Whether the last whole picture has lines that fit, and no more of them than there are rows."""
    pictures = watched.text.split(b"\x1b[?2026h\x1b[H")
    whole = [picture for picture in pictures if b"\x1b[?2026l" in picture]
    if not whole:
        return False
    lines = whole[-1].split(b"\x1b[J")[0].split(b"\r\n")
    plain = [strip(line) for line in lines]
    return len(plain) <= rows and max(map(len, plain)) <= columns


def strip(line):
    for code in (b"\x1b[K", b"\x1b[0m", b"\x1b[7m", b"\x1b[1m", b"\x1b[1;31m"):
        line = line.replace(code, b"")
    return line.decode().rstrip()


main()
