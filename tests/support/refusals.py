"""What a refused argument has to look like to a user."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from initcheck.core.errors import TheoryError


def assert_refused(call: Callable[[], object], received: str = "") -> None:
    """The call raises TheoryError with one line: what is wrong, what was received, what to do."""
    with pytest.raises(TheoryError) as caught:
        call()
    message = str(caught.value)
    assert re.fullmatch(r"[A-Z_a-z].* Received: .+\. [A-Z].*\.", message), message
    assert f"Received: {received}" in message, message
