"""Installs one version of Keras into the running environment, whatever the constraints say of it.

``constraints.txt`` pins the version that everything else is tested with; here another one is the point. The nightly
version puts its files where those of keras are, so that neither may be left when the other comes.
"""

from __future__ import annotations

import os
import subprocess
import sys

if __name__ == "__main__":
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "keras", "keras-nightly"], env=environment, check=True)
    command = [*pip, "install", "--quiet", "--no-deps", sys.argv[1]]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)
