"""Stand-ins for the programs ``python`` and ``digits``: they run in processes forked with torch imported."""

import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .helpers import run

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.create_connection({address!r}) as connection:
    file = connection.makefile("rw")
    print(json.dumps([{first} + sys.argv[1:], os.getcwd(), dict(os.environ)]), file=file, flush=True)
    code, out, err = json.loads(file.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def forked_programs(folder: Path, prepared: Callable[[], None]) -> Iterator[Path]:
    """Create a folder for PATH with the two programs. They print their output when they end.

    Args:
        folder: Where to create it.
        prepared: Called in each process before its command starts.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words, cwd, env = json.loads(self.rfile.readline())
            done = run(*words, cwd=Path(cwd), timeout=600, prepared=prepared, **env)
            self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode() + b"\n")

    programs = folder / "programs"
    programs.mkdir()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        for name, first in (("python", []), ("digits", ["-m", "digits"])):
            text = PROGRAM.format(python=sys.executable, address=server.server_address, first=first)
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield programs
        finally:
            server.shutdown()
