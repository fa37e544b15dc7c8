"""Gradient-boosted oblivious trees (CatBoost), with its native treatment of categories and missing values."""

import threading
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from metahp.core.configuration import Configuration, Value
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.base import Course, Learner, Split, list_arguments, list_checkpoints
from metahp.learners.boosting import SeenClasses, load_library, transform_raw
from metahp.learners.catboost_json import check_model, read_json, write_json
from metahp.learners.expected import Expected

# CatBoost refuses missing categories, so they are a category of their own.
MISSING = "<missing>"
_LOSS = {TaskType.BINARY: "Logloss", TaskType.MULTICLASS: "MultiClass", TaskType.REGRESSION: "RMSE"}
# Arguments of every fit. It writes no folder of logs, and prints nothing.
_QUIET = {"allow_writing_files": False, "verbose": False}
# Arguments of the constructor that a configuration cannot have: they belong to the run or to the table, name files,
# are other names of hyperparameters, or the model would be of another kind than the file of a model allows.
_LEFT_OUT = (
    *("allow_writing_files", "bagging_temperature", "cat_features", "classes_count", "custom_loss", "custom_metric"),
    *(
        "data_partition",
        "device_config",
        "devices",
        "early_stopping_rounds",
        "embedding_features",
        "eta",
        "eval_metric",
    ),
    *(
        "fixed_binary_splits",
        "gpu_cat_features_storage",
        "gpu_ram_part",
        "grow_policy",
        "ignored_features",
        "input_borders",
    ),
    *("kwargs", "leaf_estimation_backtracking", "logging_level", "loss_function", "max_bin", "max_depth", "max_leaves"),
    *(
        "metadata",
        "metric_period",
        "min_child_samples",
        "n_estimators",
        "name",
        "num_boost_round",
    ),
    *("num_leaves", "num_trees", "objective", "od_pval", "od_type", "od_wait", "output_borders", "pinned_memory_size"),
    *("random_seed", "reg_lambda", "rsm", "save_snapshot", "silent", "snapshot_file", "snapshot_interval"),
    *("target_border", "task_type", "text_features", "text_processing", "thread_count", "tokenizers", "dictionaries"),
    *(
        "feature_calcers",
        "train_dir",
        "use_best_model",
        "used_ram_limit",
        "verbose",
        "verbose_eval",
        "best_model_min_trees",
    ),
    *("final_ctr_computation_mode", "callback", "posterior_sampling", "eval_fraction", "roc_file", "callbacks"),
)


def _make_space(task_type: TaskType) -> SearchSpace:
    # CatBoost's default of the bootstrap depends on the loss.
    bootstrap = "Bayesian" if task_type is TaskType.MULTICLASS else "MVS"
    return SearchSpace(
        "catboost",
        1,
        (
            Integer("iterations", 10, 1000, 1000, is_log=True),
            # CatBoost chooses a rate by rows and iterations only where little else is given, and otherwise takes 0.03.
            # A chosen one would be another one for each checkpoint of a learning curve.
            Float("learning_rate", 0.01, 0.3, 0.03, is_log=True),
            Integer("depth", 2, 8, 6),
            Float("l2_leaf_reg", 1e-2, 30.0, 3.0, is_log=True),
            Float("random_strength", 1e-2, 10.0, 1.0, is_log=True, below=(0.0,)),
            Categorical("bootstrap_type", ("MVS", "Bernoulli", "Bayesian"), bootstrap),
            Float("subsample", 0.4, 1.0, 0.8, only_if=("bootstrap_type", ("MVS", "Bernoulli"))),
            Float("bagging_temperature", 0.0, 5.0, 1.0, only_if=("bootstrap_type", ("Bayesian",))),
            Float("colsample_bylevel", 0.2, 1.0, 1.0),
            Integer("border_count", 16, 254, 254, is_log=True),
            Integer("one_hot_max_size", 2, 64, 2, is_log=True),
            Integer("max_ctr_complexity", 1, 3, 1),
            Integer("leaf_estimation_iterations", 1, 10, 1, is_log=True),
        ),
        iteration_axis="iterations",
    )


# pytabkit 1.8 and AutoGluon 1.6; a value outside our ranges becomes their end (`l2_leaf_reg` 1e-5, for regression
# `depth` 9 and `leaf_estimation_iterations` 20; of AutoGluon's entries,
# `max_ctr_complexity` 4 and 5). Both stop their runs early; here they have at most 500 trees, as more
# take minutes.
_TD = "pytabkit CatBoost-TD (Holzmüller et al., 2024, arXiv 2407.04491)"
_TD_BOTH: dict[str, Value] = {"iterations": 500, "l2_leaf_reg": 1e-2, "bootstrap_type": "Bernoulli", "subsample": 0.9}
_PUBLISHED: dict[bool, dict[str, dict[str, Value]]] = {
    True: {_TD: {**_TD_BOTH, "learning_rate": 0.08, "depth": 7, "random_strength": 0.8, "one_hot_max_size": 15}},
    False: {
        _TD: {
            **_TD_BOTH,
            "learning_rate": 0.09,
            "depth": 8,
            "random_strength": 0.0,
            "one_hot_max_size": 20,
            "leaf_estimation_iterations": 10,
        }
    },
}
_PUBLISHED_BOTH: dict[str, dict[str, Value]] = {
    "AutoGluon zeroshot 2023 CAT_r177": {
        "iterations": 300,
        "learning_rate": 0.0686,
        "depth": 6,
        "l2_leaf_reg": 2.15,
        "max_ctr_complexity": 3,
        "one_hot_max_size": 10,
    },
    "AutoGluon zeroshot 2023 CAT_r137": {
        "iterations": 400,
        "learning_rate": 0.0494,
        "depth": 4,
        "l2_leaf_reg": 4.56,
        "max_ctr_complexity": 3,
        "one_hot_max_size": 3,
    },
    "AutoGluon zeroshot 2023 CAT_r49": {
        "iterations": 300,
        "learning_rate": 0.0603,
        "depth": 4,
        "l2_leaf_reg": 3.35,
        "max_ctr_complexity": 1,
        "one_hot_max_size": 10,
    },
    "AutoGluon zeroshot 2023 CAT_r69": {
        "iterations": 400,
        "learning_rate": 0.0503,
        "depth": 5,
        "l2_leaf_reg": 1.05,
        "max_ctr_complexity": 3,
        "one_hot_max_size": 2,
    },
    "AutoGluon zeroshot 2023 CAT_r167": {
        "iterations": 300,
        "learning_rate": 0.0848,
        "depth": 7,
        "l2_leaf_reg": 4.52,
        "max_ctr_complexity": 3,
        "one_hot_max_size": 2,
    },
    "AutoGluon zeroshot 2023 CAT_r86": {
        "iterations": 400,
        "learning_rate": 0.0329,
        "depth": 8,
        "l2_leaf_reg": 1.64,
        "max_ctr_complexity": 3,
        "one_hot_max_size": 2,
    },
}
_SPACES = {task_type: _make_space(task_type) for task_type in TaskType}


class CatBoost(Learner):
    """The `catboost` learner; it saves a fitted model as CatBoost's JSON.

    Trees are oblivious (`grow_policy` "SymmetricTree"), CatBoost's default and the only kind whose file is checked.
    """

    name = "catboost"
    libraries = ("catboost",)
    extra = "catboost"
    design_size = 40
    stops_early = True
    suffix = "json"
    file_format = "CatBoost"
    monotone_argument = "monotone_constraints"

    def space(self, task_type: TaskType) -> SearchSpace:
        """Thirteen hyperparameters; the default of the bootstrap depends on the task type."""
        return _SPACES[task_type]

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Published defaults, by source."""
        return {**_PUBLISHED[task_type.is_classification], **_PUBLISHED_BOTH}

    def constructor_arguments(self, configuration: Configuration) -> dict[str, Any]:
        """Arguments of `CatBoostClassifier` and `CatBoostRegressor`; with a list, these could not be cloned."""
        arguments: dict[str, Any] = configuration.hyperparameters
        if isinstance(signs := arguments.get("monotone_constraints"), str):
            arguments["monotone_constraints"] = f"({signs})"
        return arguments

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """Arguments of `CatBoostClassifier` or `CatBoostRegressor`."""
        catboost = load_library("catboost")
        kind = catboost.CatBoostClassifier if task_type.is_classification else catboost.CatBoostRegressor
        left_out = () if task_type is TaskType.BINARY else ("scale_pos_weight",)
        return list_arguments(kind, (*_SPACES[task_type].names, *_LEFT_OUT, *left_out))

    def estimator(
        self,
        configuration: Configuration,
        task_type: TaskType,
        *,
        numeric: Sequence[str | int],
        categorical: Sequence[str | int],
        seed: int,
        n_jobs: int = 1,
    ) -> Any:
        """`CatBoostClassifier` or `CatBoostRegressor`; categories are the frame's `category` columns.

        Where there are categories, a `Pipeline` whose step `adapt` makes missing ones a category.
        """
        catboost = load_library("catboost")
        kind = catboost.CatBoostClassifier if task_type.is_classification else catboost.CatBoostRegressor
        # As a tuple: an estimator with a list of them cannot be cloned.
        columns = {"cat_features": tuple(categorical)} if categorical else {}
        arguments = self.constructor_arguments(configuration)
        model = kind(**arguments, **columns, **_QUIET, random_state=seed, thread_count=n_jobs)
        return Pipeline([("adapt", FunctionTransformer(name_missing)), ("model", model)]) if categorical else model

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Predictions at every checkpoint of one fit."""
        run = self.start(configuration, split, seed=seed)
        checkpoints = list_checkpoints(int(cast(int, configuration.hyperparameters["iterations"])))
        predictions = [run.grow(checkpoint) for checkpoint in checkpoints]
        return Course(checkpoints, predictions, run.fit_seconds, run.predict_seconds)

    def can_stop(self, configuration: Configuration) -> bool:
        """Always."""
        return True

    def start(self, configuration: Configuration, split: Split, *, seed: int) -> "CatBoostRun":
        """A fit without trees."""
        return CatBoostRun(self.constructor_arguments(configuration), split, seed)

    def adapting(self, names: Sequence[str], *, has_categories: bool) -> tuple[str, ...]:
        """Lines that make missing values of categories a category."""
        if not has_categories:
            return ()
        return (
            "# CatBoost refuses missing categories",
            'for name in X.select_dtypes("category"):',
            f'    X[name] = X[name].cat.add_categories("{MISSING}").fillna("{MISSING}")',
        )

    def extract_model(self, estimator: Any) -> Any:
        """CatBoost's own model, as it is read from a file: the last digit of its numbers may differ before."""
        return read_json(write_json(estimator[-1] if hasattr(estimator, "steps") else estimator))

    def read_importances(self, model: Any) -> np.ndarray:
        """Mean change of the prediction if the feature's value changes, in percent of their sum; CatBoost's own."""
        return np.asarray(model.get_feature_importance())

    def outputs(self, model: Any, features: pd.DataFrame, task_type: TaskType) -> np.ndarray:
        """As `Learner.outputs`."""
        raw = model.predict(name_missing(features), prediction_type="RawFormulaVal")
        return transform_raw(np.asarray(raw, dtype=float), task_type)

    def dump(self, model: Any) -> bytes:
        """The model as CatBoost's JSON."""
        return write_json(model)

    def load(self, content: bytes, expected: Expected) -> Any:
        """The model in a text; CatBoost sees only the checked parts of the text."""
        return read_json(check_model(content, expected))


def name_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """The same frame, in which missing values of `category` columns are a category."""
    frame = frame.copy(deep=False)
    for name, column in frame.select_dtypes("category").items():
        is_known = MISSING in column.cat.categories
        frame[name] = (column if is_known else column.cat.add_categories([MISSING])).fillna(MISSING)
    return frame


class _TestSums:
    """What CatBoost calls with its sums for the test rows after every tree: here training waits until it may go on."""

    def __init__(self, n_test: int) -> None:
        self.n_test, self.n_asked, self.n_grown = n_test, 0, 0
        self.sums: np.ndarray = np.empty((0, 0))
        self.is_over = False
        self.may_go_on, self.has_grown = threading.Semaphore(0), threading.Semaphore(0)
        self._calls = 0

    def __deepcopy__(self, memo: object) -> "_TestSums":
        # CatBoost copies its arguments.
        return self

    def evaluate(self, sums: Sequence[Any], target: Sequence[float], weight: object) -> tuple[float, float]:
        """A metric of no meaning, asked for the training rows and then for the test rows."""
        self._calls += 1
        if self._calls % 2 == 0:
            self.n_grown += 1
            if self.n_grown >= self.n_asked:
                self.sums = np.array([np.asarray(part) for part in sums]).T
                self.wait()
        return 0.0, 1.0

    def wait(self) -> None:
        """Let the other thread have the sums, and wait for it."""
        self.has_grown.release()
        self.may_go_on.acquire()

    def after_iteration(self, info: object) -> bool:
        """Whether training goes on."""
        return not self.is_over

    def is_max_optimal(self) -> bool:
        """No metric's is."""
        return False

    def get_final_error(self, error: float, weight: float) -> float:
        """The error itself."""
        return error


class CatBoostRun:
    """A fit in a thread of its own, which waits for the next checkpoint: CatBoost itself cannot be stopped and resumed.

    Args:
        arguments: Constructor's arguments; `iterations` is the most that can be asked for.
        split: Training and test rows.
        seed: Seed of the fit.
    """

    def __init__(self, arguments: Mapping[str, Any], split: Split, seed: int) -> None:
        self._classes, self._task_type = SeenClasses(split), split.task_type
        self.fit_seconds = self.predict_seconds = 0.0
        if self._classes.constant is not None:
            return
        start = time.perf_counter()
        train, test = _find_pools(split, self._classes)
        self._rows = _TestSums(len(split.X_test))
        self._errors: list[BaseException] = []
        model = load_library("catboost").CatBoost(
            {
                **{name: value for name, value in arguments.items() if value is not None},
                **_QUIET,
                "loss_function": _LOSS[split.task_type],
                "eval_metric": self._rows,
                "use_best_model": False,
                "random_seed": seed,
                "thread_count": split.n_threads,
            }
        )
        self._thread = threading.Thread(target=_train, args=(model, train, test, self._rows, self._errors), daemon=True)
        # Whoever drops the run ends its thread too.
        weakref.finalize(self, _end, self._rows, self._thread)
        self._start()
        self.fit_seconds = time.perf_counter() - start

    def _start(self) -> None:
        """Train the first tree: what CatBoost has to say, it says before."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to import numba")
            self._thread.start()
            self._rows.has_grown.acquire()
        self._raise()

    def grow(self, n_iterations: int) -> np.ndarray:
        """As `Run.grow`."""
        if (constant := self._classes.constant) is not None:
            return constant
        start = time.perf_counter()
        rows = self._rows
        if n_iterations > rows.n_grown:
            rows.n_asked = n_iterations
            rows.may_go_on.release()
            rows.has_grown.acquire()
            self._raise()
        sums = rows.sums[:, 0] if rows.sums.shape[1] == 1 else rows.sums
        predictions = self._classes.fill(transform_raw(sums, self._task_type))
        self.fit_seconds += time.perf_counter() - start
        return predictions

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]


def _train(model: Any, train: Any, test: Any, rows: _TestSums, errors: list[BaseException]) -> None:
    try:
        model.fit(train, eval_set=test, callbacks=[rows])
    except BaseException as error:
        errors.append(error)
    rows.has_grown.release()


def _end(rows: _TestSums, thread: threading.Thread) -> None:
    rows.is_over = True
    rows.may_go_on.release()
    if thread is not threading.current_thread():
        thread.join()


def _find_pools(split: Split, classes: SeenClasses) -> tuple[Any, Any]:
    """The training and the test rows as CatBoost takes them."""
    if "catboost rows" not in split.memory:
        categorical = np.flatnonzero(split.is_categorical).tolist()
        pools = []
        for X, y, weights in ((split.X_train, classes.y, split.w_train), (split.X_test, None, None)):
            columns = {
                index: np.nan_to_num(values, nan=-1.0).astype(np.int32) if index in categorical else values
                for index, values in enumerate(X.T)
            }
            # The targets of the test rows are not needed.
            target = np.resize(np.unique(classes.y), len(X)) if y is None else y
            pools.append(
                load_library("catboost").Pool(
                    pd.DataFrame(columns),
                    target,
                    cat_features=categorical,
                    weight=weights,
                    thread_count=split.n_threads,
                )
            )
        split.memory["catboost rows"] = tuple(pools)
    return cast(tuple[Any, Any], split.memory["catboost rows"])
