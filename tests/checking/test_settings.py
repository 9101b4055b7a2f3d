import pytest

from initcheck.checking.settings import CheckSettings, default_seeds, override, read_project_settings, split_words
from initcheck.core.errors import UsageError


def write(folder, text):
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def test_the_table_of_the_nearest_file_is_read_from_inside_the_project(tmp_path):
    write(tmp_path, '[tool.initcheck]\nseeds = 8\nwaive = ["a*"]\n[tool.initcheck.limits]\ndead-fraction = 0.4\n')
    inner = tmp_path / "src" / "deep"
    inner.mkdir(parents=True)
    settings = override(read_project_settings(inner))
    assert (settings.seeds, settings.waive, settings.limits.dead_fraction) == (8, ("a*",), 0.4)


def test_a_file_without_the_table_and_no_file_change_nothing(tmp_path):
    assert read_project_settings(tmp_path) == {}
    write(tmp_path, "[project]\nname = 'x'\n")
    assert read_project_settings(tmp_path) == {}


def test_the_command_line_wins_and_what_it_does_not_give_stays():
    project = {"seeds": 8, "ignore": ("IC401",), "allow_inconclusive": True}
    settings = override(project, seeds=4, ignore=(), allow_inconclusive=None, fixes=False)
    assert (settings.seeds, settings.ignore, settings.allow_inconclusive) == (4, ("IC401",), True)
    assert settings.fixes is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.initcheck]\nseed = 8\n", "Unknown key of .tool.initcheck.*Did you mean seeds"),
        ("[tool.initcheck]\nseeds = '8'\n", "seeds .* must be a whole number. Received: '8'"),
        ("[tool.initcheck]\nallow-inconclusive = 1\n", "must be true or false. Received: 1"),
        ("[tool.initcheck]\nwaive = 'a'\n", "must be a list of strings. Received: 'a'"),
        ("[tool.initcheck]\nlimits = 3\n", "must be a table of numbers. Received: 3"),
        ("[tool.initcheck.limits]\nfan-ration = 3\n", "Unknown limit.*Did you mean fan_ratio"),
        ("[tool]\ninitcheck = 3\n", "must be a table. Received: 3"),
        ("[tool.initcheck\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_line_with_what_was_received(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        read_project_settings(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 1}, "seeds must be at least 2: .* Received: 1"),
        ({"seeds": 0}, "seeds must be at least 2: .* Received: 0"),
        ({"batch_size": 0}, "batch_size must be at least 1. Received: 0"),
        ({"weights": "new"}, "Received"),
        ({"select": ("IC9",)}, "Unknown"),
        ({"first_seed": -1}, "Received"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        CheckSettings(**wrong)
    with pytest.raises(UsageError, match=message):
        override({}, **wrong)


def test_larger_models_get_fewer_draws_and_never_less_than_an_interval_needs():
    assert [default_seeds(size) for size in (0, 5_000_000, 5_000_001, 30_000_001, 10**10)] == [16, 16, 8, 5, 5]


def test_words_are_split_at_commas():
    assert split_words(["IC1, IC2", "", "dead-units"]) == ("IC1", "IC2", "dead-units")
