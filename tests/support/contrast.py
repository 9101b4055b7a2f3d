"""The contrast of two colours, as the Web Content Accessibility Guidelines define it."""

from __future__ import annotations


def contrast(first: str, second: str) -> float:
    """Compute the WCAG contrast ratio of two colours given as ``#rrggbb``; text needs 4.5, graphics need 3."""
    bright, dim = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[start : start + 2], 16) / 255.0) for start in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
