"""Installs one version of Keras into the running environment, whatever the constraints say of it.

``constraints.txt`` pins the version that everything else is tested with; here another one is the point.
"""

from __future__ import annotations

import os
import subprocess
import sys

if __name__ == "__main__":
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"keras=={sys.argv[1]}"]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)
