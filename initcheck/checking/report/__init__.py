"""The result of a check as text, JSON and page."""
