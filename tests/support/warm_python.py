"""A `python` that starts at once: it is forked from a process that has imported the libraries.

Whoever calls it sees what the interpreter itself would do: arguments, directory, environment,
streams and exit status are the same. It saves the seconds per stage in which nothing of this
project runs.
"""

import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = """
matplotlib.backends.backend_agg matplotlib.figure numpy pandas PIL.Image pydantic regex
safetensors.torch scipy.optimize scipy.stats sklearn.datasets torch tqdm yaml
"""
# Not Python itself behind #!, where a path has no space and at most 127 characters.
PROGRAM = """#!/bin/sh
exec {python} -IS {client} "$@"
"""
CLIENT = """import array, json, os, signal, socket, sys
if len(sys.argv) < 2 or not sys.argv[1].endswith(".py"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    task = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    server.sendmsg(
        [len(task).to_bytes(4, "big")],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))],
    )
    server.sendall(task)
    process = int(server.recv(20))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(process, number))
    status = int(server.recv(20))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@contextmanager
def warm_python() -> Iterator[Path]:
    """Start the process and yield a directory for PATH, with `python` in it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    with TemporaryDirectory() as folder:  # not pytest's: a socket's path is at most 107 characters
        address, programs = f"{folder}/socket", Path(folder, "bin")
        programs.mkdir()
        client, program = Path(folder, "client.py"), programs / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        quoted = {"python": shlex.quote(sys.executable), "client": shlex.quote(str(client))}
        program.write_text(PROGRAM.format(**quoted))
        program.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == b"ready\n"
                yield programs
            finally:
                process.kill()


def serve(address: str) -> None:
    """Fork a process for each client."""
    for library in LIBRARIES.split():
        __import__(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for these
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, b"ready\n")
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                attend(client)
                os._exit(0)
            client.close()


def attend(client: socket.socket) -> None:
    """Run one client's script; kill it if the client ends first."""
    header, streams, _, _ = socket.recv_fds(client, 4, 3)
    content = b""
    while len(content) < int.from_bytes(header, "big"):
        content += client.recv(65536)
    arguments, folder, environment = json.loads(content)
    if (process := os.fork()) == 0:
        client.close()
        run_script(arguments, folder, environment, streams)
    for stream in streams:
        os.close(stream)
    client.sendall(f"{process}".ljust(20).encode())
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            client.sendall(f"{os.waitstatus_to_exitcode(status)}".ljust(20).encode())
            return
        if select.select([client], [], [], 0.005)[0]:  # the client has ended
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return


def run_script(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]
) -> None:
    """Do what the interpreter does for a script, and end the process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).absolute().parent)
    status = 0
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        status = 1
        traceback.print_exc()
    for stream_ in (sys.stdout, sys.stderr):
        if not stream_.closed:
            stream_.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
