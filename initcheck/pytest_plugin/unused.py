"""What no test of a run needed: baselines, and what is ignored or waived though nothing of it was found.

Only what ran completely is judged. A process surveys what it has collected, and sends that to the one that reports.
"""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from initcheck.pytest_plugin import FOLDER, IDS, ROOT

_MODELS: Final = "models"


def survey_items(session: pytest.Session, left_out: Collection[str]) -> dict[str, Any] | None:
    """List the tests beside whose files there are baselines, as plain data; None where single tests were asked for.

    Args:
        left_out: the files of which tests were collected and not run, or not collected.
    """
    config = session.config
    picked = config.stash.get(IDS, []) or any("::" in each for each in config.args)
    if picked or config.getoption("lf", False) or config.getoption("collectonly"):
        return None
    wanted = config.getini("testpaths") or ["."]
    args = [(config.invocation_params.dir / each).resolve() for each in config.args]
    root = config.rootpath.resolve()
    whole = not left_out and all(
        {(root / each).resolve(), *(root / each).resolve().parents} & {*args} for each in wanted
    )
    measuring = [item.nodeid for item in session.items if _may_measure(item)]
    return {"whole": whole, "left_out": sorted(left_out), "measuring": measuring, "items": list(_list_items(session))}


def _may_measure(item: pytest.Item) -> bool:
    return "initcheck" in getattr(item, "fixturenames", ()) or _is_of_model(item)


def _is_of_model(item: pytest.Item) -> bool:
    return item.nodeid.startswith(f"{ROOT}::")


def _list_items(session: pytest.Session) -> Iterator[tuple[str, str, str]]:
    """Give of each test beside baselines its id, the folder of these, and how the names of its own begin."""
    config = session.config
    there: dict[Path, bool] = {}
    named = bool(config.getoption("initcheck_model"))
    for item in session.items:
        of_model = _is_of_model(item)
        folder = (config.rootpath if of_model else item.path.parent) / FOLDER
        if folder not in there:
            there[folder] = folder.is_dir()
        if not there[folder] or (of_model and named):
            continue
        from initcheck.pytest_plugin.settings import name_in_file

        own = "" if of_model else re.match(r"[\w.]*", name_in_file(item), re.ASCII)[0][:100]  # type: ignore[index]
        yield item.nodeid, str(folder / (_MODELS if of_model else item.path.stem)), own


def find_unused_baselines(
    surveys: Iterable[Mapping[str, Any]], asked: Collection[Path], unfinished: Collection[str]
) -> Iterator[Path]:
    """Find the baselines that no test compares with, beside the files of tests that were collected completely.

    Args:
        asked: the baselines that were compared with or written.
        unfinished: ids of tests that failed or were skipped: what they would have asked for is not known.
    """
    tests: dict[Path, dict[str, str]] = defaultdict(dict)
    left_out: set[str] = set()
    for survey in surveys:
        left_out |= set(survey["left_out"])
        for nodeid, folder, own in survey["items"]:
            tests[Path(folder)][nodeid] = own
    for folder in sorted({each.parent for each in tests}):
        for part in sorted(each for each in folder.iterdir() if each.is_dir()):
            if part not in tests and (part.name == _MODELS or any(folder.parent.glob(f"{glob.escape(part.name)}.*"))):
                continue
            items = tests.get(part, {})
            if left_out & {each.partition("::")[0] for each in items}:
                continue
            kept = tuple(own for nodeid, own in items.items() if nodeid in unfinished)
            yield from (
                path
                for path in sorted(part.glob("*.json"))
                if path.resolve() not in asked and not path.name.startswith(kept)
            )


@dataclass(frozen=True)
class Exemption:
    """Something that was to be ignored or waived in one measurement.

    Attributes:
        kind: ``call``, ``marker`` or ``project``, whose settings say so.
        place: the id of the test, of what bears the marker, or the file of settings.
        setting: ``ignore`` or ``waive``.
        needed: whether something of it was found.
    """

    kind: str
    place: str
    setting: str
    word: str
    needed: bool

    def __str__(self) -> str:
        where = f"[tool.initcheck] of {self.place}" if self.kind == "project" else f"the {self.kind} of {self.place}"
        return f"{self.setting} {self.word!r} in {where}"


def find_unneeded(
    surveys: Iterable[Mapping[str, Any]], exemptions: Iterable[Exemption], unfinished: Collection[str]
) -> list[Exemption]:
    """Find what was to be ignored or waived and was not found in any of the measurements that it is for."""
    listed = list(surveys)
    left_out = {each for survey in listed for each in survey["left_out"]}
    needed: dict[tuple[str, str, str, str], Exemption] = {}
    for each in exemptions:
        key = each.kind, each.place, each.setting, each.word
        if key not in needed or each.needed:
            needed[key] = each

    def is_complete(each: Exemption) -> bool:
        if each.kind == "project":
            return all(survey["whole"] and not {*survey["measuring"]} & {*unfinished} for survey in listed)
        return each.place.partition("::")[0] not in left_out and not any(
            nodeid.startswith(each.place) for nodeid in unfinished
        )

    return [each for each in needed.values() if not each.needed and is_complete(each)]
