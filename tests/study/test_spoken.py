"""What a study and a recommendation say in Python: warnings, short forms, and progress where it is wanted."""

import warnings

import numpy as np
import pytest

import metahp
from builders import make_frame, tune_bowl
from metahp.core.errors import InputError
from metahp.knowledge.store import KnowledgeBase

OPTIONS = {"target": "target", "record": False, "cv": 3, "cold": True, "strategy": "random", "learners": "linear"}


@pytest.fixture
def odd():
    """A table with a column that is left out."""
    return make_frame(0).assign(constant=1)


def list_warnings(action) -> tuple[list[str], object]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = action()
    assert {each.category for each in caught} <= {metahp.MetahpWarning}
    assert {each.filename for each in caught} <= {__file__}
    return [str(each.message) for each in caught], value


def test_every_verb_warns_once_and_keeps_it(odd) -> None:
    said, table = list_warnings(lambda: metahp.load(odd, target="target"))
    assert said == list(table.warnings)
    assert any("constant" in line for line in said)
    said, advice = list_warnings(lambda: metahp.recommend(odd, target="target", k=1, learners="lightgbm"))
    assert sorted(said) == sorted(set(advice.warnings))
    said, result = list_warnings(lambda: metahp.tune(odd, trials=1, **OPTIONS))
    assert sorted(said) == sorted(set(result.warnings))
    assert set(table.warnings) <= set(result.warnings) & set(advice.warnings)


def test_a_table_that_was_loaded_is_not_warned_of_again(odd) -> None:
    table = metahp.load(odd, target="target")
    options = {name: value for name, value in OPTIONS.items() if name != "target"}
    said, result = list_warnings(lambda: metahp.tune(table, trials=1, **options))
    assert not set(said) & set(table.warnings)
    assert set(table.warnings) <= set(result.warnings)


def test_predictions_warn_of_unknown_values() -> None:
    frame = make_frame(1).assign(town=np.resize(["Rome", "Oslo"], 150))
    model = metahp.tune(frame, trials=1, **OPTIONS).best_estimator_
    said, _ = list_warnings(lambda: model.predict(frame.assign(town="Bern")))
    assert said == ["column 'town': 150 unknown value(s) read as missing ('Bern')"]


def test_forms_for_a_person_are_short(odd) -> None:
    advice = metahp.recommend(odd, target="target", k=3, learners="lightgbm")
    result = metahp.tune(odd, trials=2, **OPTIONS)
    for value, words in ((advice, "lightgbm"), (result, "linear")):
        assert len(repr(value)) < 200
        assert words in repr(value)
        assert "nan" not in repr(value) + value._repr_html_()
        assert "<table" in value._repr_html_()
        assert "left out (constant): constant" in value._repr_html_()


def test_names_cannot_write_into_a_notebook(odd) -> None:
    frame = odd.rename(columns={"constant": "<script>"})
    assert "<script>" not in metahp.tune(frame, trials=1, **OPTIONS)._repr_html_()
    assert "<script>" not in metahp.recommend(frame, target="target", k=1, learners="lightgbm")._repr_html_()


def test_progress_is_printed_where_it_is_wanted(base: KnowledgeBase, capsys: pytest.CaptureFixture) -> None:
    seen = []
    tune_bowl(base, trials=4, verbose=2, on_trial=seen.append)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(seen) == 5
    assert lines[0] == "metahp: tuning for objective: 4 trials"
    assert lines[-1].startswith("metahp: trial 4/4  ")
    tune_bowl(base, trials=6, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "metahp: tuning for objective: 6 trials, 4 of them done earlier"
    with pytest.warns(metahp.MetahpWarning, match="nothing left to do"):
        tune_bowl(base, trials=5, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["metahp: tuning for objective: nothing left to do: 6 trials exist already"]
    tune_bowl(base, trials=8)
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="`verbose` is 0, 1 or 2"):
        tune_bowl(base, trials=8, verbose=5)


def test_what_is_logged_is_a_warning_of_the_result_too(odd, base: KnowledgeBase) -> None:
    base.journal.folder.mkdir(parents=True, exist_ok=True)
    (base.journal.folder / "odd.jsonl").write_text("nonsense\n")
    said, result = list_warnings(lambda: metahp.tune(odd, trials=1, knowledge_base=base, **OPTIONS))
    for lines in (said, result.warnings):
        assert sum("odd.jsonl has 1 record(s) that cannot be read and that advice" in line for line in lines) == 1
