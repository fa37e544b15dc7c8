"""`metahp tune` from the outside: what it prints, its exit codes, and what is left after a kill at any moment."""

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_iris

from conftest import Known
from metahp.cli import tune as command
from metahp.cli.main import main
from metahp.core.metric import find_metric
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.seed import SEED_KEY, find_seed_folder, hash_seed
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.results.content import TRIALS
from metahp.study.progress import Outlook, Progress, format_plan

LINE = re.compile(r"^trial (\d+)/\d+ ", re.MULTILINE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "iris.csv"
    load_iris(as_frame=True).frame.to_csv(path, index=False)
    return path


@pytest.fixture
def base(tmp_path: Path) -> KnowledgeBase:
    """An empty knowledge base that believes it has the seed, so that no test waits for its import."""
    kb = KnowledgeBase(tmp_path / "kb")
    kb.add([], trials_to_table([]), {SEED_KEY: hash_seed(find_seed_folder())})
    return kb


def arguments(file: Path, base: KnowledgeBase, *more: str) -> list[str]:
    options = ["--learner", "linear", "--strategy", "random", "--cold", "--cv", "2", "--kb", str(base.folder)]
    return ["tune", str(file), *options, "--output", str(file.parent / "out"), *more]


def start(words: list[str], error: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, which writes its progress to the file `error`."""
    # A line for every trial: which trials it has told of is what the tests below go by. A shell that started the tests
    # in the background has them ignore the interrupt, and so would their children.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "from metahp.cli import tune; tune.SECONDS_BETWEEN_LINES = 0.0; "
        "from metahp.cli.main import main; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with error.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=sink, env=environment
        )


def told(error: Path) -> int:
    """How many trials the progress in `error` has told of."""
    numbers = LINE.findall(error.read_text(encoding="utf-8", errors="replace"))
    return max(map(int, numbers), default=0)


def wait_for(process: subprocess.Popen[bytes], error: Path, count: int) -> None:
    while told(error) < count and process.poll() is None:
        time.sleep(0.01)


def ids(trials: list[Trial]) -> list[str]:
    return [trial.configuration.id for trial in trials]


def test_a_run_and_the_run_after_it(file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(file, base, "--try", "C=0.5,numeric=quantile", "--test-size", "0.2")
    assert main([*words, "--trials", "3"]) == 0
    printed = capsys.readouterr()
    assert "120 rows × 4 features, target 'target'" in printed.err
    assert "30 more rows set aside for the test" in printed.err
    assert "starts from library defaults · strategy random" in printed.err
    assert "3 trials · results are added to your knowledge base" in printed.err
    assert "trial 1/3  " in printed.err
    assert "(yours)" in printed.err
    assert re.search(r"^best log loss 0\.\d+ ± 0\.\d+ \(mean ± standard error of 2 folds; optimistic, ", printed.out)
    assert re.search(
        r"^best log loss by origin: yours 0\.\d+ \(1 trial\), library default 0\.\d+ \(1 trial\), ", printed.out, re.M
    )
    assert re.search(r"^test log loss 0\.\d+ on 30 rows not used for tuning$", printed.out, re.MULTILINE)
    assert "3 trials added to your knowledge base" in printed.out
    assert "script.py" in printed.out
    described = json.loads((file.parent / "out" / "best.json").read_text())
    assert described["command"].split()[0] == "metahp"
    assert described["best"]["test_score"] is not None

    assert main([*words, "--trials", "3"]) == 0
    printed = capsys.readouterr()
    assert "nothing left to do: 3 trials exist already" in printed.err
    assert "added to your knowledge base" not in printed.out

    assert main([*words, "--trials", "4", "--quiet", "--ensemble"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "1 trial added to your knowledge base" in printed.out
    assert "the ensemble" in printed.out
    assert " of the ensemble on 30 rows" in printed.out
    assert main(["predict", str(file.parent / "out"), str(file), "--quiet"]) == 0


def test_a_search_ends_where_more_trials_are_expected_to_bring_too_little(
    known: Known, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = known.copied(tmp_path / "home")
    words = ["tune", str(known.table), "--learner", "linear", "--kb", str(base.folder), "--trials", "60"]
    assert main([*words, "--output", str(tmp_path / "out"), "--stop-when-flat", "--no-record"]) == 0
    printed = capsys.readouterr()
    assert "(more trials are expected to bring too little)" in printed.out
    assert re.search(r"^more time is expected to bring .+ in the next minute", printed.out, re.MULTILINE)
    assert "next minute: " in printed.err
    outlook = json.loads((tmp_path / "out" / "best.json").read_text())["outlook"]
    assert outlook["is_flat"]
    assert outlook["expected_gain"] >= 0
    assert outlook["trials"] >= 1
    flat = pd.read_parquet(tmp_path / "out" / TRIALS)
    assert 25 <= len(flat) < 60

    # Without the option the same trials run, and then more.
    words[-1] = str(len(flat) + 2)
    assert main([*words, "--output", str(tmp_path / "other"), "--quiet", "--no-record"]) == 0
    other = pd.read_parquet(tmp_path / "other" / TRIALS)
    assert other["id"].tolist()[: len(flat)] == flat["id"].tolist()
    assert len(other) == len(flat) + 2

    # The same command goes on only where there is something to expect.
    words[-1] = "60"
    assert main([*words, "--output", str(tmp_path / "out"), "--stop-when-flat", "--no-record"]) == 0
    assert len(pd.read_parquet(tmp_path / "out" / TRIALS)) == len(flat)


@pytest.mark.parametrize("width", [8, 12, 20, 40, 60, 100, 200])
def test_the_progress_shows_what_fits_and_cuts_nothing(width: int) -> None:
    configuration = find_learner("linear").space(TaskType.REGRESSION).default
    rmse = find_metric(TaskType.REGRESSION)
    trial = Trial(
        task="t",
        configuration=configuration,
        protocol=Protocol(folds=2),
        n_rows=60,
        state=TrialState.COMPLETE,
        fold_losses={rmse.name: (53.0, 55.0)},
        origin=Origin.SURROGATE,
    )
    progress = Progress(
        trial=trial,
        metric=rmse,
        n_done=3,
        n_trials=30,
        n_earlier=0,
        best=trial,
        best_number=3,
        default_score=-60.0,
        warm_score=math.nan,
        seconds_left=95.0,
    )
    shown = command.fit_progress(progress, width)
    assert len(shown) <= width
    assert shown in (
        "",
        "best 54.0000",
        "1:35 left  best 54.0000",
        "1:35 left  best 54.0000 (trial 3)",
        "1:35 left  54.0000 (similar tasks)  best 54.0000 (trial 3, similar tasks, best default 60.0000)",
    )
    assert ("best 54.0000" in shown) == (width >= 12)
    assert ("default 60.0000" in shown) == (width >= 100)
    outlook = Outlook(gain=0.0123, n_trials=40, noise=0.05, gain_ahead=0.02, is_flat=False)
    shown = command.fit_progress(replace(progress, outlook=outlook), width)
    assert len(shown) <= width
    assert ("next minute: 0.012 better (0.25 × the fold noise)" in shown) == (width >= 200)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--try", "CC=1"], 2, "'CC' is not a hyperparameter of linear.*Did you mean 'C'"),
        (["--try", "C"], 2, "--try takes key=value pairs"),
        (["--try", "C=high"], 2, "'C' is a number in"),
        (["--fixed", "CC=1"], 2, "--fixed has 'CC', which is no argument of linear.*Did you mean 'C'"),
        (["--fixed", "C"], 2, "--fixed takes NAME=VALUE or LEARNER:NAME=VALUE, got 'C'"),
        (["--group", "nope"], 2, "No column is called 'nope'"),
        (["--group", "target"], 2, "is the target"),
        (["--time", "petal length (cm)", "--cv", "60"], 2, "different times"),
        (["--timeout", "0"], 2, "--timeout is a number of seconds above 0"),
        (["--test-size", "1.2"], 2, "--test-size is a share of the rows"),
        (["--trials", "0"], 2, "--trials is a whole number of at least 1"),
        (["--learner", "liner"], 2, "Did you mean 'linear'"),
        (["--metric", "roc_auc"], 2, "not a metric for a multiclass task"),
        (["--strategy", "rendom"], 2, "Did you mean 'random'"),
        (["--device", "tpu"], 2, "--device is one of"),
        (["--frobnicate"], 2, "No such option"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_code_2(
    file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str], more: list[str], code: int, words: str
) -> None:
    assert main(arguments(file, base, *more)) == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert re.search(words, error[0])
    assert not (file.parent / "out").exists()


def test_what_is_fixed_is_said_and_kept(file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(file, base, "--trials", "2")
    assert main([*words, "--fixed", "linear:C=0.5", "--fixed", "random_state=3"]) == 0
    assert "\nfixed: random_state 3, C 0.5\n" in capsys.readouterr().err
    described = json.loads((file.parent / "out" / "best.json").read_text())
    assert described["fixed"] == {"linear": {"random_state": 3, "C": 0.5}}
    assert described["best"]["configuration"]["C"] == 0.5
    assert main(words) == 2
    assert "Give the same --fixed, or another --output" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(
    file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(file, base, "--output", str(file))) == 2
    assert "is a file; expected a directory" in capsys.readouterr().err


def test_when_no_trial_is_complete_the_code_is_1(
    file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(file, base, "--trials", "2", "--trial-timeout", "0.0001")) == 1
    assert "None of 2 trials is complete. The most frequent reason (2 times): not finished" in capsys.readouterr().err
    assert len(base.trials()) == 2


@pytest.mark.parametrize(
    ("file", "name"),
    [("data/churn.csv", "churn.metahp"), ("a.b.csv.gz", "a.b.metahp"), ("-", "stdin.metahp"), ("x", "x.metahp")],
)
def test_the_result_is_named_after_the_file(file: str, name: str) -> None:
    assert command._make_directory_name(file) == name


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")]
)
def test_an_interrupt_writes_what_was_found(
    file: Path, base: KnowledgeBase, tmp_path: Path, number: int, word: str
) -> None:
    error = tmp_path / "progress"
    process = start(arguments(file, base, "--trials", "500"), error)
    wait_for(process, error, 3)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert f"{word}: the best result so far is being written" in error.read_text()
    n_trials = len(base.trials())
    assert 3 <= n_trials < 500
    assert len(pd.read_parquet(tmp_path / "out" / TRIALS)) == n_trials


def kill_and_go_on(file: Path, base: KnowledgeBase, error: Path, rng: random.Random) -> None:
    """Kill a run at a random moment: nothing that it told of is lost, and nothing is evaluated twice."""
    before = {trial.id: trial for trial in base.trials()}
    process = start(arguments(file, base, "--trials", "500", "--jobs", str(rng.choice((1, 2)))), error)
    # Some kills meet the start, the others any moment within the trials.
    wait_for(process, error, len(before) + rng.choice((0, 1, 2, 4)))
    time.sleep(rng.random() * 0.3)
    process.kill()
    process.wait()
    after = {trial.id: trial for trial in base.trials()}
    assert len(after) >= told(error)
    assert {key: after[key] for key in before} == before
    assert len(set(ids(list(after.values())))) == len(after)
    base.ingest()
    assert set(base.trial_ids()) == set(after)


def finish(file: Path, base: KnowledgeBase) -> None:
    """Let the run end, and compare what is on record with what is reported."""
    n_trials = len(base.trials()) + 2
    assert main(arguments(file, base, "--trials", str(n_trials), "--quiet")) == 0
    frame = pd.read_parquet(file.parent / "out" / TRIALS)
    assert len(frame) == len(base.trials()) == n_trials
    assert frame["configuration"].is_unique
    study = next((file.parent / "out" / "study").iterdir())
    assert not list(study.glob("*.tmp"))


def test_a_kill_loses_no_finished_trial(file: Path, base: KnowledgeBase, tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(2):
        kill_and_go_on(file, base, tmp_path / "progress", rng)
    finish(file, base)


@pytest.mark.slow
def test_twenty_kills_lose_no_finished_trial(file: Path, base: KnowledgeBase, tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(20):
        kill_and_go_on(file, base, tmp_path / "progress", rng)
    finish(file, base)


def test_without_record_a_kill_loses_nothing_either(file: Path, base: KnowledgeBase, tmp_path: Path) -> None:
    error = tmp_path / "progress"
    process = start(arguments(file, base, "--trials", "500", "--no-record"), error)
    wait_for(process, error, 3)
    process.kill()
    process.wait()
    n_told = told(error)
    assert main(arguments(file, base, "--trials", str(n_told + 2), "--no-record", "--quiet")) == 0
    frame = pd.read_parquet(tmp_path / "out" / TRIALS)
    assert len(frame) == n_told + 2
    assert frame["configuration"].is_unique
    assert base.trials() == []


@pytest.mark.parametrize(
    ("n_trials", "n_earlier", "words"),
    [
        (1, 0, "1 trial"),
        (12, 1, "12 trials, 1 of them done earlier"),
        (5, 8, "nothing left to do: 8 trials exist already"),
        (1, 1, "nothing left to do: 1 trial exists already"),
    ],
)
def test_the_plan_counts_the_trials_that_exist(n_trials: int, n_earlier: int, words: str) -> None:
    assert format_plan(n_trials, n_earlier) == words


def test_the_report_compares_no_start_with_what_came_later(
    file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(file, base, "--trials", "1", "--no-record")) == 0
    first = capsys.readouterr().out
    assert "optimistic" not in first
    assert "trial 1 of 1, library default" in first
    assert "by origin" not in first
    assert main(arguments(file, base, "--trials", "4", "--no-record")) == 0
    report = capsys.readouterr().out
    line = re.search(r"^best log loss by origin: (.*)$", report, re.MULTILINE)[1]
    assert re.fullmatch(r"library default [\d.]+ \(1 trial\), random search [\d.–]+ \(3 trials\)", line)
    assert "warm start" not in report


def test_a_logged_warning_is_printed_once(file: Path, base: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    base.journal.folder.mkdir(parents=True, exist_ok=True)
    (base.journal.folder / "odd.jsonl").write_text("nonsense\n")
    assert main(arguments(file, base, "--trials", "1", "--no-record")) == 0
    assert capsys.readouterr().err.count("odd.jsonl") == 1
