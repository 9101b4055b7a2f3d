"""Digests that tell whether data are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def digest_arrays(arrays: Iterable[Any]) -> str:
    """Digest arrays: equal digests mean equal dtypes, shapes and values.

    Args:
        arrays: of numbers or text; None counts as nothing.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for each in arrays:
        if each is None:
            continue
        array = np.asarray(each)
        text = array.dtype.kind in "OSU"
        digest.update(f"{'text' if text else array.dtype.newbyteorder('<').str}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if text else array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
