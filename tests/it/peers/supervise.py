"""A supervisor with socket activation: listens, passes its sockets, and starts the command again when it ends.

supervise.py NAME=ADDRESS:PORT... -- COMMAND...   Prints `socket ADDRESS:PORT` for each. TERM goes on to the command, which
is started again; it is killed when this process ends.
"""

import ctypes
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1

split = sys.argv.index("--")
passed, command = sys.argv[1:split], sys.argv[split + 1 :]
names, sockets = [], []
for entry in passed:
    name, address = entry.split("=")
    host, port = address.rsplit(":", 1)
    listener = socket.create_server((host, int(port)), backlog=4096)
    print("socket %s:%d" % listener.getsockname(), flush=True)
    names.append(name)
    sockets.append(listener)


def start():
    child = os.fork()
    if child:
        return child
    # High first: what is duplicated down must not lie in the way.
    high = [os.dup2(listener.fileno(), 100 + index) for index, listener in enumerate(sockets)]
    for index, descriptor in enumerate(high):
        os.dup2(descriptor, 3 + index, inheritable=True)
    os.closerange(3 + len(high), 200)
    # Whoever kills this process means the command.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(high))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.execvp(command[0], command)


child = start()
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
while True:
    try:
        _, status = os.waitpid(child, 0)
    except InterruptedError:
        continue
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(code if code > 0 else 1)
    child = start()
