"""What tests ask of a page of HTML: its tags, ids, addresses and text, and that it needs nothing beside itself."""

from __future__ import annotations

from html.parser import HTMLParser

FOREIGN = {"script", "link", "img", "iframe", "object", "embed", "form"}


class Page(HTMLParser):
    """A page that was read."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(source)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def tag_names(self) -> set[str]:
        return {name for name, _ in self.tags}

    def assert_self_contained(self) -> None:
        """Every link leads to a place of the page, and nothing is loaded or run."""
        assert self.addresses and all(address.startswith("#") for address in self.addresses)
        assert {address[1:] for address in self.addresses} <= set(self.ids)
        self.assert_nothing_is_loaded()

    def assert_nothing_is_loaded(self) -> None:
        """No id stands twice, and nothing is loaded or run."""
        assert len(self.ids) == len(set(self.ids))
        assert not FOREIGN & self.tag_names

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), f"{tag} has a handler"

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside:
            self.texts.append(data)
