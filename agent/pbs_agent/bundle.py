"""The whole agent as one file that a Python 3.9 or newer runs. The same source gives the same bytes.

It reads this package's own files, wherever they are installed, and never anything else.
"""

from __future__ import annotations

import io
import os
import zipfile
from importlib import resources
from pathlib import Path

# An absolute path: sshd's PATH is not ours to trust. -I: no PYTHONPATH, no packages of the user.
SHEBANG = b"#!/usr/bin/python3 -I\n"
_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = b'''\
"""Start the agent, or say why this Python cannot."""
import sys

if sys.version_info < (3, 9):
    message = "the agent needs Python 3.9 or newer, this is %d.%d" % sys.version_info[:2]
    end = '{"event": "end", "outcome": "failed", "message": "%s", "snapshot": null, "unreadable": 0, '
    sys.stdout.write(end % message + '"root": null, "exit": 69}\\n')
    sys.stderr.write("pbs-agent: " + message + "\\n")
    sys.exit(69)

from pbs_agent.wrapper import main

sys.exit(main())
'''


def pyz_bytes() -> bytes:
    """The file's contents."""
    package = resources.files("pbs_agent")
    sources = {f"pbs_agent/{f.name}": f.read_bytes() for f in package.iterdir() if f.name.endswith(".py")}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sorted({**sources, "__main__.py": _MAIN}.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, source)
    return SHEBANG + data.getvalue()


def build_pyz(target: Path) -> None:
    """Write the agent to `target`, executable, replacing what was there in one step."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_bytes(pyz_bytes())
    beside.chmod(0o755)
    beside.replace(target)
