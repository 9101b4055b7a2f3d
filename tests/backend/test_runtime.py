"""Keras is imported quietly, and a backend that cannot be measured on is named in one line.

Each test that imports or breaks something does so in a process of its own: an import cannot be undone. Packages that
stand in for Keras and its backends keep these processes fast; the last test uses the real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from initcheck import __version__
from initcheck.backend import runtime
from initcheck.core.errors import BackendError

SOUND_KERAS = """
import os
os.write(2, b"noise from the C++ side\\n")
__version__ = "3.15.1"
class backend:
    backend = staticmethod(lambda: os.environ.get("KERAS_BACKEND", "tensorflow"))
"""

SOUND_TENSORFLOW = """
import os
class config:
    list_physical_devices = staticmethod(lambda: os.write(2, b"no driver for a GPU\\n"))
"""

OTHER_BACKENDS = {
    "jax": "import os\ndef devices(): os.write(2, b'no driver for a GPU\\n')",
    "jaxlib": "",
    "torch": "",
}

THREADS = {"tensorflow": "TF_NUM_INTRAOP_THREADS", "jax": "PJRT_NPROC", "torch": "OMP_NUM_THREADS"}

IMPORT = """
from initcheck.core.errors import BackendError
from initcheck.backend.runtime import import_keras
try:
    print(import_keras().__version__)
except BackendError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    (tmp_path / "keras.py").write_text(SOUND_KERAS)
    (tmp_path / "tensorflow.py").write_text(SOUND_TENSORFLOW)
    for name, text in OTHER_BACKENDS.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def _run(code: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    unset = ("KERAS_BACKEND", "KERAS_HOME", "TF_CPP_MIN_LOG_LEVEL", *THREADS.values())
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    clean["KERAS_HOME"] = str(folder or Path(os.devnull))
    if folder is not None:
        code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True, timeout=120
    )


def _error(code: str, folder: Path, **environment: str) -> str:
    """Run what must fail; give back the message, which must be one line without any noise."""
    result = _run(code, folder, **environment)
    assert result.stdout.startswith("BackendError ")
    assert result.stdout.count("\n") == 1
    return result.stdout


def test_start_up_noise_is_not_shown(stand_ins: Path):
    result = _run(IMPORT, stand_ins)
    assert (result.stdout, result.stderr) == ("3.15.1\n", "")


def test_standard_error_works_again_after_the_import(stand_ins: Path):
    code = IMPORT + "import sys, os\nprint('python', file=sys.stderr, flush=True)\nos.write(2, b'descriptor\\n')"
    assert _run(code, stand_ins).stderr == "python\ndescriptor\n"


def test_noise_is_shown_when_the_import_fails(stand_ins: Path):
    (stand_ins / "keras.py").write_text(SOUND_KERAS + "raise ImportError('libfoo.so:\\n  cannot open')")
    result = _run(IMPORT, stand_ins)
    assert "Keras cannot be imported: libfoo.so: cannot open." in result.stdout
    assert result.stderr == "noise from the C++ side\n"


def test_an_interruption_passes_through_without_the_noise(stand_ins: Path):
    (stand_ins / "keras.py").write_text(SOUND_KERAS + "raise KeyboardInterrupt")
    code = f"try:\n{textwrap.indent(IMPORT, '    ')}\nexcept KeyboardInterrupt: print('Ctrl-C')"
    result = _run(code, stand_ins)
    assert (result.stdout, result.stderr) == ("Ctrl-C\n", "")


def test_a_closed_standard_error_does_no_harm(stand_ins: Path):
    assert _run("import os; os.close(2)\n" + IMPORT, stand_ins).stdout == "3.15.1\n"


def _without(*modules: str) -> str:
    return f"import sys\nfor name in {modules}: sys.modules[name] = None\n" + IMPORT


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_is_imported_quietly_on_each_backend(stand_ins: Path, backend: str):
    result = _run(IMPORT, stand_ins, KERAS_BACKEND=backend)
    assert (result.stdout, result.stderr) == ("3.15.1\n", "")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_missing_keras_names_the_extra(stand_ins: Path, backend: str):
    message = _error(_without("keras"), stand_ins, KERAS_BACKEND=backend)
    assert "Keras is not installed." in message
    assert f'pip install "initcheck[{backend}]"' in message


@pytest.mark.parametrize(
    ("backend", "title", "missing"),
    [("tensorflow", "TensorFlow", "tensorflow"), ("jax", "JAX", "jaxlib"), ("torch", "PyTorch", "torch")],
)
def test_a_missing_backend_names_the_extra_and_what_asks_for_it(
    stand_ins: Path, backend: str, title: str, missing: str
):
    others = {"tensorflow", "jax", "torch"} - {backend}
    message = _error(_without(missing, *others), stand_ins, KERAS_BACKEND=backend)
    assert f'{title}, which KERAS_BACKEND names, is not installed. Run: pip install "initcheck[{backend}]"' in message


def test_a_missing_default_names_a_backend_that_is_installed(stand_ins: Path):
    message = _error(_without("tensorflow", "torch"), stand_ins)
    assert "TensorFlow, which Keras runs on by default, is not installed. Set" in message
    assert "KERAS_BACKEND=jax, which is, or run: pip install" in message


def test_the_settings_of_keras_name_the_backend_and_the_variable_has_precedence(stand_ins: Path):
    (stand_ins / "keras.json").write_text('{"backend": "torch"}')
    message = _error(_without("torch", "jax"), stand_ins)
    assert f"PyTorch, which {stand_ins / 'keras.json'} names, is not installed. Set" in message
    message = _error(_without("jax", "torch"), stand_ins, KERAS_BACKEND="jax")
    assert "JAX, which KERAS_BACKEND names, is not installed." in message
    assert _run(IMPORT, stand_ins, KERAS_BACKEND="tensorflow").stdout == "3.15.1\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"floatx": "float32"}'])
def test_settings_that_name_no_backend_leave_the_default(stand_ins: Path, text: str):
    (stand_ins / "keras.json").write_text(text)
    assert _run(IMPORT, stand_ins).stdout == "3.15.1\n"


@pytest.mark.parametrize("version", ["2.15.0", "3.11.3", "unknown"])
def test_an_old_keras_is_refused(stand_ins: Path, version: str):
    (stand_ins / "keras.py").write_text(SOUND_KERAS.replace("3.15.1", version))
    assert f"Keras 3.12 or newer is needed. Received: Keras {version}." in _error(IMPORT, stand_ins)


@pytest.mark.parametrize("version", ["3.12.0", "3.13.0.dev2025", "4.0"])
def test_a_newer_keras_is_accepted(stand_ins: Path, version: str):
    (stand_ins / "keras.py").write_text(SOUND_KERAS.replace("3.15.1", version))
    assert _run(IMPORT, stand_ins).stdout == f"{version}\n"


def test_an_unknown_backend_is_refused_before_it_is_imported(stand_ins: Path):
    (stand_ins / "keras.py").write_text("raise SystemExit('imported')")
    message = _error(IMPORT, stand_ins, KERAS_BACKEND="openvino")
    assert "needs one of the backends tensorflow, jax, torch. Received: backend 'openvino'." in message


def test_a_keras_that_was_loaded_with_another_backend_is_refused(stand_ins: Path):
    (stand_ins / "keras.py").write_text(SOUND_KERAS.replace('"tensorflow"', '"numpy"'))
    assert "Received: backend 'numpy'" in _error("import keras\n" + IMPORT, stand_ins)


def test_a_keras_that_is_loaded_already_is_used_and_checked(stand_ins: Path):
    assert _run("import keras\n" + IMPORT, stand_ins).stdout == "3.15.1\n"
    (stand_ins / "keras.py").write_text(SOUND_KERAS.replace("3.15.1", "3.1.0"))
    assert "Received: Keras 3.1.0" in _error("import keras\n" + IMPORT, stand_ins)


def test_log_level_is_only_set_where_the_user_set_none(stand_ins: Path):
    code = IMPORT + "import os; print('level', os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert _run(code, stand_ins).stdout.endswith("level 2\n")
    assert _run(code, stand_ins, TF_CPP_MIN_LOG_LEVEL="0").stdout.endswith("level 0\n")


def test_numerics_of_tensorflow_are_left_as_they_are(stand_ins: Path):
    code = "import os; before = os.environ.get('TF_ENABLE_ONEDNN_OPTS')\n" + IMPORT
    code += "assert os.environ.get('TF_ENABLE_ONEDNN_OPTS') == before"
    _run(code, stand_ins)


def test_threads_get_the_same_keras_and_one_check(monkeypatch: pytest.MonkeyPatch):
    keras = SimpleNamespace(__version__="3.15.1", backend=SimpleNamespace(backend=lambda: "tensorflow"))
    checks, results = [], []
    start = threading.Barrier(8)

    def check_slowly(module: object) -> None:
        checks.append(module)
        time.sleep(0.05)

    monkeypatch.setattr(runtime, "_checked_keras", None)
    monkeypatch.setattr(runtime, "_check", check_slowly)
    monkeypatch.setitem(sys.modules, "keras", keras)

    def work() -> None:
        start.wait()
        results.append(runtime.import_keras())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [keras] * 8
    assert checks == [keras]


def test_a_failed_check_is_repeated_at_the_next_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "_checked_keras", None)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(__version__="1.0"))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"Received: Keras 1\.0"):
            runtime.import_keras()


@pytest.mark.parametrize("backend", THREADS)
def test_threads_are_limited_before_the_backend_starts_and_a_variable_has_precedence(stand_ins: Path, backend: str):
    code = "import os\nfrom initcheck.backend.runtime import limit_threads\nlimit_threads()\n"
    code += f"print(os.environ[{THREADS[backend]!r}])"
    assert _run(code, stand_ins, KERAS_BACKEND=backend).stdout == "1\n"
    assert _run(code, stand_ins, **{"KERAS_BACKEND": backend, THREADS[backend]: "3"}).stdout == "3\n"


def test_a_warning_says_where_it_is_too_late_to_limit_threads(stand_ins: Path):
    code = "import jax\nfrom initcheck.backend.runtime import limit_threads\nlimit_threads()\n"
    warning = _run(code, stand_ins, KERAS_BACKEND="jax").stderr
    assert warning.startswith("JAX has started with several threads")
    assert "Set PJRT_NPROC=1 before" in warning


@pytest.mark.parametrize(("backend", "libraries"), [("tensorflow", 1), ("jax", 2), ("torch", 1)])
def test_versions_name_all_that_the_numbers_depend_on(backend: str, libraries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "backend_name", lambda: backend)
    versions = runtime.versions()
    assert {backend, "initcheck", "python", "keras", "numpy", "scipy", "pandas", "platform"} <= set(versions)
    assert len(versions) == 7 + libraries
    assert versions["initcheck"] == __version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["numpy"] != "not installed"


def test_versions_import_nothing_and_tell_what_is_missing():
    code = "import sys\nfrom initcheck.backend.runtime import versions\nfound = versions()\n"
    code += "assert not {'keras', 'tensorflow', 'pandas'} & set(sys.modules)\n"
    code += "import importlib.metadata\ndef missing(name): raise importlib.metadata.PackageNotFoundError(name)\n"
    code += "importlib.metadata.version = missing\nprint(versions()['tensorflow'])"
    assert _run(code).stdout == "not installed\n"


@pytest.mark.thorough
def test_the_real_keras_is_imported_without_noise():
    result = _run(
        IMPORT + "import keras; keras.ops.ones((2, 2)) @ keras.ops.ones((2, 2))", KERAS_BACKEND=runtime.backend_name()
    )
    assert result.stdout.startswith("3.")
    assert result.stderr == ""
