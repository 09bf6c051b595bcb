"""Runs a command with io_uring forbidden, as a container's seccomp profile does: io_uring_setup fails with the errno given."""

import ctypes
import os
import struct
import sys

IO_URING_SETUP = 425  # the same on every architecture
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def statement(code, k, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, k)


errno, command = int(sys.argv[1]), sys.argv[2:]
rules = [
    statement(LOAD_WORD, 0),  # the number of the system call
    statement(JUMP_IF_EQUAL, IO_URING_SETUP, 0, 1),
    statement(RETURN, FAIL | errno),
    statement(RETURN, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program), 0, 0),
]:
    if libc.prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(command[0], command)
