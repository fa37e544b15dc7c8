"""The systems of `benchmarks.race`, and the process in which one of them searches one table.

    python -m benchmarks.race_systems WORK ANSWER

Reads a pickled `Work` of its parent and writes an `Answer`. It imports nothing of metahp before the clock starts but
`metahp` itself, which a user would have imported too.
"""

import importlib
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# A library default is cut by no limit, so only these take seconds.
DEFAULT = "default"
OWN = ("metahp", "metahp_all", "metahp_ensemble")
# More trials than any limit allows: the clock alone ends a search.
ENDLESS = 1_000_000
# Rounds without a better loss on the test rows of a fold that end it, and the most rounds.
PATIENCE, MAX_ROUNDS = 50, 2000
# The share of its limit that LightGBMTunerCV searches for; it keeps no time for a last fit.
SEARCH_SHARE = 0.9
# By metahp's name of a metric: LightGBM's, whether greater is better, and FLAML's.
METRICS: Mapping[str, tuple[str, bool, str]] = {
    "roc_auc": ("auc", True, "roc_auc"),
    "neg_log_loss": ("multi_logloss", False, "log_loss"),
    "neg_root_mean_squared_error": ("rmse", False, "rmse"),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Work:
    """One search: training rows with `y` as codes or numbers, features of test rows, and what the system is told.

    `n_classes` is 0 for a regression; `folds` are those of metahp with this seed; `cpu` is the one to run on.
    """

    system: str
    seconds: float
    seed: int
    X: pd.DataFrame
    y: np.ndarray
    X_test: pd.DataFrame
    task: str
    n_classes: int
    metric: str
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    knowledge_base: str
    cpu: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """A fitted model and what the search says of it: trials, and the cross-validated loss of its pick on `folds`.

    `past_tasks` is how many past tasks metahp's warm start rests on, `notes` its warnings.
    """

    model: Any
    n_trials: int
    cv_loss: float = float("nan")
    past_tasks: int = 0
    notes: Sequence[str] = ()


@dataclass(eq=False)
class Deadline:
    """The end of a search that needs `reserve` seconds for its last fit."""

    at: float
    reserve: float = 0.0
    fitted: list[float] = field(default_factory=list)

    def is_over(self) -> bool:
        """Whether no time is left to search."""
        return time.perf_counter() >= self.at - self.reserve


def run_default(work: Work) -> Answer:
    """The library default."""
    return Answer(model=_fit_lightgbm(work, {}), n_trials=0)


def run_metahp(work: Work, *, learners: str | None, ensemble: bool) -> Answer:
    """`metahp.tune`, as a user with a frame calls it."""
    result = importlib.import_module("metahp").tune(
        work.X,
        work.y,
        task=work.task,
        metric=work.metric,
        learners=learners,
        trials=ENDLESS,
        timeout=work.seconds,
        device="cpu",
        seed=work.seed,
        knowledge_base=work.knowledge_base,
        record=False,
        ensemble=ensemble,
    )
    return Answer(
        model=result.best_estimator_,
        n_trials=len(result.trials),
        cv_loss=float("nan") if ensemble else result.best_trial_.loss(work.metric),
        past_tasks=result.n_past_tasks,
        notes=result.warnings,
    )


def run_tpe(work: Work) -> Answer:
    """Optuna's TPE over the space of its LightGBM example and the learning rate, each fold stopped early.

    A trial that runs when the time is up is cut; where none is complete, the model is the library default.
    """
    optuna, lightgbm = importlib.import_module("optuna"), importlib.import_module("lightgbm")
    deadline = Deadline(time.perf_counter() + work.seconds)
    metric, is_score, _ = METRICS[work.metric]
    fixed = {**_make_parameters(work), "feature_pre_filter": False}
    # Binned once for all trials.
    whole = lightgbm.Dataset(work.X, work.y, params=fixed, free_raw_data=False).construct()
    parts = [(whole.subset(train), whole.subset(test)) for train, test in work.folds]

    def stop_in_time(_: Any) -> None:
        if deadline.is_over():
            raise optuna.TrialPruned

    def evaluate(trial: Any) -> float:
        parameters, start = _suggest(trial), time.perf_counter()
        scores, iterations, n_rounds = [], [], 0
        for train, test in parts:
            booster = lightgbm.train(
                {**fixed, **parameters},
                train,
                num_boost_round=MAX_ROUNDS,
                valid_sets=[test],
                callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False), stop_in_time],
            )
            scores.append(booster.best_score["valid_0"][metric])
            iterations.append(booster.best_iteration)
            n_rounds += booster.current_iteration()
        n_iterations = max(1, round(float(np.mean(iterations))))
        trial.set_user_attr("arguments", {**parameters, "n_estimators": n_iterations})
        n_folds = len(parts)
        per_round = (time.perf_counter() - start) / max(n_rounds, 1)
        trial.set_user_attr("refit_seconds", per_round * n_iterations * n_folds / (n_folds - 1))
        return 1.0 - float(np.mean(scores)) if is_score else float(np.mean(scores))

    def keep_time(study: Any, trial: Any) -> None:
        if any(each.state.name == "COMPLETE" for each in study.get_trials(deepcopy=False)):
            deadline.reserve = study.best_trial.user_attrs["refit_seconds"]
        if deadline.is_over():
            study.stop()

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=work.seed))
    study.optimize(evaluate, timeout=work.seconds, callbacks=[keep_time])
    n_trials = sum(trial.state.name == "COMPLETE" for trial in study.trials)
    if not n_trials:
        return Answer(model=_fit_lightgbm(work, {}), n_trials=0)
    model = _fit_lightgbm(work, study.best_trial.user_attrs["arguments"])
    return Answer(model=model, n_trials=n_trials, cv_loss=study.best_value)


def _suggest(trial: Any) -> dict[str, Any]:
    """A point of the space of `lightgbm_simple.py` of Optuna's examples, with a learning rate."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 2, 256),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 100),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "bagging_freq": trial.suggest_int("bagging_freq", 1, 7),
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
    }


def run_tuner_cv(work: Work) -> Answer:
    """LightGBMTunerCV of optuna-integration, and a fit of its best parameters on all rows."""
    tuners, lightgbm = importlib.import_module("optuna_integration.lightgbm"), importlib.import_module("lightgbm")
    _, is_score, _ = METRICS[work.metric]
    tuner = tuners.LightGBMTunerCV(
        _make_parameters(work),
        lightgbm.Dataset(work.X, work.y),
        num_boost_round=MAX_ROUNDS,
        folds=work.folds,
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        time_budget=SEARCH_SHARE * work.seconds,
        optuna_seed=work.seed,
        return_cvbooster=True,
        show_progress_bar=False,
    )
    tuner.run()
    arguments = {**tuner.best_params, "n_estimators": tuner.get_best_booster().best_iteration}
    loss = 1.0 - tuner.best_score if is_score else tuner.best_score
    # It changes the objective's parameters alone; those of the estimator are the same.
    model = _fit_lightgbm(work, {key: value for key, value in arguments.items() if key not in _make_parameters(work)})
    return Answer(model=model, n_trials=len(tuner.study.trials), cv_loss=loss)


def run_flaml(work: Work, *, estimators: Sequence[str] | str) -> Answer:
    """FLAML's AutoML with its own defaults, on one thread."""
    automl = importlib.import_module("flaml").AutoML()
    automl.fit(
        work.X,
        work.y,
        task="classification" if work.n_classes else "regression",
        metric=METRICS[work.metric][2],
        estimator_list=estimators,
        time_budget=work.seconds,
        n_jobs=1,
        seed=work.seed,
        verbose=0,
    )
    # The public history has the improvements alone.
    return Answer(model=automl, n_trials=automl._track_iter + 1)


def _make_parameters(work: Work) -> dict[str, Any]:
    """Parameters of a booster that are the same in all trials."""
    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[work.task]
    classes = {"num_class": work.n_classes} if objective == "multiclass" else {}
    common = {"verbosity": -1, "num_threads": 1, "seed": work.seed}
    return {"objective": objective, "metric": METRICS[work.metric][0], **classes, **common}


def _fit_lightgbm(work: Work, arguments: Mapping[str, Any]) -> Any:
    """LightGBM's estimator on all training rows."""
    lightgbm = importlib.import_module("lightgbm")
    estimator = lightgbm.LGBMClassifier if work.n_classes else lightgbm.LGBMRegressor
    return estimator(**arguments, random_state=work.seed, n_jobs=1, verbosity=-1).fit(work.X, work.y)


@dataclass(frozen=True, slots=True)
class System:
    """A way to a model within some seconds, and what it imports before the clock starts."""

    run: Callable[[Work], Answer]
    imports: Sequence[str]


_NOTEBOOK = ("pandas", "sklearn", "lightgbm", "torch", "metahp")
SYSTEMS: Mapping[str, System] = {
    "metahp": System(partial(run_metahp, learners="lightgbm", ensemble=False), _NOTEBOOK),
    "metahp_all": System(partial(run_metahp, learners=None, ensemble=False), _NOTEBOOK),
    "metahp_ensemble": System(partial(run_metahp, learners=None, ensemble=True), _NOTEBOOK),
    "tpe": System(run_tpe, ("lightgbm", "optuna")),
    "tuner_cv": System(run_tuner_cv, ("lightgbm", "optuna", "optuna_integration.lightgbm")),
    "flaml_lgbm": System(partial(run_flaml, estimators=["lgbm"]), ("lightgbm", "flaml")),
    "flaml_all": System(partial(run_flaml, estimators="auto"), ("lightgbm", "xgboost", "catboost", "flaml")),
    DEFAULT: System(run_default, ("lightgbm",)),
}


def predict(model: Any, X: pd.DataFrame, n_classes: int) -> np.ndarray:
    """Probabilities of the classes 0, 1, … (n, n_classes), or numbers (n,) where there are none."""
    if not n_classes:
        return np.asarray(model.predict(X), dtype=float).reshape(len(X))
    # A class that the training rows lack has no probability.
    probabilities = np.zeros((len(X), n_classes))
    probabilities[:, np.asarray(model.classes_).astype(int)] = model.predict_proba(X)
    return probabilities


def main() -> None:
    """Do the work of the first argument, and write what came of it to the second."""
    work: Work = pickle.loads(Path(sys.argv[1]).read_bytes())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {work.cpu})
    warnings.simplefilter("ignore")
    system = SYSTEMS[work.system]
    for name in system.imports:
        importlib.import_module(name)
    if "optuna" in system.imports:
        sys.modules["optuna"].logging.disable_default_handler()
    start = time.perf_counter()
    answer = system.run(work)
    seconds = time.perf_counter() - start
    found = {
        "predictions": predict(answer.model, work.X_test, work.n_classes),
        "seconds": seconds,
        "trials": answer.n_trials,
        "cv_loss": float(answer.cv_loss),
        "past_tasks": answer.past_tasks,
        "notes": list(answer.notes),
    }
    Path(sys.argv[2]).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    # Under the name by which the parent pickled the class.
    importlib.import_module("benchmarks.race_systems").main()
