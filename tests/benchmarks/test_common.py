import json
from datetime import UTC, datetime
from importlib import import_module

import numpy as np
import pytest

import metahp
from benchmarks import common
from benchmarks.common import Cache, Figure, Figures, Note, Report, average, derive_seed, mean_and_error, win_rate


def test_what_was_measured_is_not_measured_again_after_an_interrupt(tmp_path):
    path = tmp_path / "cache.jsonl"
    cache = Cache(path)
    cache.fill([("a", abs, (-1.5,)), ("b", abs, (-2,))], n_jobs=1)
    path.write_text(path.read_text() + '["c", 3')

    again = Cache(path)
    again.fill([("a", "not called", ()), ("b", "not called", ()), ("c", abs, (-4,))], n_jobs=1)

    assert [again[key] for key in "abc"] == [1.5, 2, 4]
    assert [Cache(path)[key] for key in "abc"] == [1.5, 2, 4]


def test_equal_losses_are_half_a_win_and_a_failed_peer_is_none():
    ours = np.array([1.0, 2.0, 3.0, 4.0])
    assert win_rate(ours, np.array([2.0, 1.0, 3.0, np.nan])) == 0.5
    assert np.isnan(win_rate(ours, np.full(4, np.nan)))


def test_every_table_has_a_seed_of_its_own_that_stays():
    seeds = [derive_seed(name, seed) for name in ("iris", "wine") for seed in (0, 1)]
    assert len(set(seeds)) == 4
    assert seeds[0] == derive_seed("iris")
    assert all(0 <= each < 2**32 for each in seeds)


def test_means_and_errors_are_of_the_values_that_are_known():
    values = np.array([[1.0, 5.0, np.nan], [3.0, np.nan, np.nan]])
    mean, error = mean_and_error(values)
    assert mean == pytest.approx([2.0, 5.0, np.nan], nan_ok=True)
    assert error == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
    assert list(map(str, average(values[:, :1]))) == ["2.000 ± 1.000"]


TABLE = Figures(
    "losses",
    ["method", "k = 1", "wins"],
    [["ours", Figure(0.25, 0.125), Figure(0.5, form="{:.0%}")], ["theirs", Figure(float("inf"), form="{:.1f}"), ""]],
    [Note("Worse on {worse:.0%} of them.", {"worse": 0.2})],
)


def test_a_table_is_markdown_and_flat_objects():
    assert TABLE.to_markdown().splitlines() == [
        "losses",
        "",
        "| method | k = 1 | wins |",
        "| --- | --- | --- |",
        "| ours | 0.250 ± 0.125 | 50% |",
        "| theirs | inf |  |",
        "",
        "Worse on 20% of them.",
    ]
    assert TABLE.to_objects() == [
        {"title": "losses", "method": "ours", "k = 1": 0.25, "k = 1, standard error": 0.125, "wins": 0.5},
        {"title": "losses", "method": "theirs", "k = 1": None, "wins": None},
        {"title": "losses", "worse": 0.2},
    ]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Publishes `TABLE` as a benchmark that is called with some options; its pages are in a folder of their own."""
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(common, "PAGES", tmp_path / "docs" / "benchmarks")

    def publish(*options):
        monkeypatch.setattr("sys.argv", ["benchmarks/losses.py", *options])
        parser = common.make_parser(None, data=tmp_path)
        parser.add_argument("--suite")
        parser.add_argument("--jobs", type=int)
        parser.add_argument("--folds", type=int)
        report = Report("losses", "How losses compare.\n", common.parse_arguments(parser, "suite"))
        report.add(TABLE)
        report.publish()
        return tmp_path / "docs" / "benchmarks" / "losses.md"

    return publish


def test_a_full_run_writes_a_page_with_its_command_and_date(run, capsys, tmp_path):
    text = run("--jobs", "2", "--folds", "5", f"--json={tmp_path / 'losses.json'}").read_text(encoding="utf-8")
    assert text.startswith("# Losses\n\nHow losses compare.\n\nMade by `python -m benchmarks.losses --folds 5` on ")
    assert f"{datetime.now(UTC):%Y-%m}" in text
    assert TABLE.to_markdown() in text
    out, err = capsys.readouterr()
    assert out == f"{TABLE.to_markdown()}\n\n"
    assert err == "written: docs/benchmarks/losses.md\n"


@pytest.mark.parametrize("options", [("--quick",), ("--tasks", "a,b"), ("--data", "elsewhere"), ("--suite", "svm")])
def test_a_page_stays_as_it_is_in_any_other_run(run, options, capsys):
    page = run()
    page.write_text("published", encoding="utf-8")
    assert run(*options).read_text(encoding="utf-8") == "published"
    assert f"is not written: it is about a run without {options[0]}." in capsys.readouterr().err


def test_json_is_a_flat_object_for_each_row_with_command_and_version(run, tmp_path):
    run("--quick", "--json", str(tmp_path / "out.json"))
    objects = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    command = f"python -m benchmarks.losses --quick --json {tmp_path / 'out.json'}"
    assert objects == [{**each, "command": command, "version": metahp.__version__} for each in TABLE.to_objects()]


@pytest.mark.parametrize(
    "name", ["recommendations", "transfer", "refinement", "live", "flat", "peers", "outer", "race", "speed"]
)
def test_every_benchmark_says_how_it_is_run_and_has_the_options_of_all(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [f"benchmarks/{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for words in (f"python -m benchmarks.{name}", "--quick", "--json FILE", "--data DIR", "--tasks NAME"):
        assert words in shown


def test_an_error_that_a_person_can_mend_is_one_line_and_exit_code_2(capsys):
    def main():
        raise metahp.MetahpError("No table.")

    assert common.run_main(main) == 2
    assert capsys.readouterr().err == "benchmark: No table.\n"
