"""Meta-features in words: why past tasks speak for a configuration."""

import numpy as np

from metahp.core.task import TaskType

# Quantiles of the past tasks below and above which a value is called low or high.
LOW, HIGH = 0.25, 0.75
# Log ratio of two losses below which two quick trials did about equally well: 1 %.
SMALLEST_DIFFERENCE = 0.01

# Quantities: "{words} is high compared with past tables".
_QUANTITIES = {
    "log_n_rows": "the number of rows",
    "log_n_features": "the number of features",
    "log_rows_per_feature": "the number of rows per feature",
    "n_classes": "the number of classes",
    "categorical_share": "the share of categorical features",
    "binary_column_share": "the share of features with two values",
    "log_cardinality_mean": "the mean number of categories of a feature",
    "log_cardinality_max": "the largest number of categories of a feature",
    "minority_share": "the share of the rarest class",
    "majority_share": "the share of the most frequent class",
    "class_entropy": "the balance of the classes",
    "log_rows_per_class": "the number of rows per class",
    "missing_share": "the share of missing values",
    "missing_column_share": "the share of features with missing values",
    "missing_row_share": "the share of rows with missing values",
    "skewness_median": "the skewness of the features",
    "skewness_high": "the skewness of the most skewed features",
    "kurtosis_median": "the weight of the features' tails",
    "outlier_share_mean": "the share of outliers in the features",
    "zero_share_mean": "the share of zeros in the features",
    "integer_column_share": "the share of features with whole numbers",
    "unique_ratio_mean": "the share of distinct values in a feature",
    "correlation_mean": "the mean correlation of two features",
    "correlation_max": "the highest correlation of two features",
    "first_component_share": "the variance that the features share",
    "components_ratio": "the number of independent directions per feature",
    "target_skewness": "the skewness of the target",
    "target_kurtosis": "the weight of the target's tails",
    "target_outlier_share": "the share of outliers in the target",
    "target_unique_ratio": "the share of distinct values in the target",
    "target_log_gain": "what the target gains in symmetry from a logarithm",
    "information_mean": "what a single feature says about the target on average",
    "information_max": "what the best single feature says about the target",
    "information_concentration": "the concentration of the information in a few features",
    "log_noise_ratio": "the share of the features' variation that says nothing about the target",
    "column_entropy": "the variety of the values in a feature",
    "joint_entropy": "the variety of feature and target together",
    "linear_association_mean": "the mean linear association of a feature with the target",
    "linear_association_max": "the strongest linear association of a feature with the target",
    "rank_association_mean": "the mean rank correlation of a feature with the target",
    "rank_association_max": "the strongest rank correlation of a feature with the target",
    "probe_best_iteration": "the number of trees at which a quick trial was best",
    "probe_fold_spread": "the difference between the folds of a quick trial",
    "probe_noise": "the noise of the quick trials",
    "probe_train_gap": "the ratio of training loss to test loss in a quick trial",
}
_OF_CLASSES = frozenset(
    {"n_classes", "is_binary", "minority_share", "majority_share", "class_entropy", "log_rows_per_class"}
)
# Models whose loss is compared with that of a constant prediction.
_SKILLS = {
    "probe_skill": "a quick trial of boosted trees",
    "probe_order_skill": "the ranking of a quick trial of boosted trees",
    "landmark_linear": "a linear model",
    "landmark_nearest": "the nearest row",
    "landmark_neighbours": "the mean of the nearest rows",
    "landmark_stump": "a tree with one split",
    "landmark_shallow_tree": "a shallow tree",
    "landmark_naive_bayes": "naive Bayes",
}
# Pairs of models that were compared by a quick trial each: the first one did better where the value is below zero.
_COMPARISONS = {
    "probe_quarter": ("a quarter of the trees", "all of them"),
    "probe_half": ("half of the trees", "all of them"),
    "probe_double": ("twice as many trees", "the usual number"),
    "probe_four_leaves": ("small trees", "large ones"),
    "probe_large_trees": ("very large trees", "those of usual size"),
    "probe_fast": ("a high learning rate", "the usual one"),
    "probe_slow": ("a low learning rate", "the usual one"),
    "probe_ten_leaves": ("trees with ten leaves", "larger ones"),
    "probe_large_leaves": ("trees with many rows per leaf", "those with few"),
    "probe_ridge": ("strong L2 regularisation", "none"),
    "probe_few_columns": ("trees that see few columns", "those that see all"),
    "probe_few_rows": ("trees that see half of the rows", "those that see all"),
    "probe_random_splits": ("trees with random splits", "those with the best splits"),
    "landmark_linear_to_probe": ("a linear model", "boosted trees"),
    "landmark_neighbours_to_probe": ("the mean of the nearest rows", "boosted trees"),
    "landmark_shallow_tree_to_probe": ("a single shallow tree", "boosted trees"),
}
_ORDER = "probe_order_"
_STATEMENTS = {
    "is_binary": ("the target has more than two classes, or is a number", "the target has two classes"),
    "is_regression": ("the target is a class", "the target is a number"),
}


def explain_metafeature(name: str, value: float, past: np.ndarray, task_type: TaskType) -> str:
    """A meta-feature of a table in words; empty where it is unknown or ordinary, or there are no words for it.

    Args:
        name: Name of the meta-feature.
        value: Its value on the table.
        past: Its values on past tasks, shape (t,); may have NaN.
        task_type: Of the table; a regression has no classes.
    """
    if not np.isfinite(value) or (name in _OF_CLASSES and not task_type.is_classification):
        return ""
    if name in _STATEMENTS:
        return _STATEMENTS[name][int(value > 0)]
    if name in _SKILLS:
        rank = _rank(value, past)
        return f"{_SKILLS[name]} predicts this target {'better' if rank < 0 else 'worse'} than most" if rank else ""
    if name in _QUANTITIES:
        rank = _rank(value, past)
        return f"{_QUANTITIES[name]} is {'low' if rank < 0 else 'high'} among past tables" if rank else ""
    compared = _COMPARISONS.get(find_subject(name))
    if compared is None:
        return ""
    if abs(value) < SMALLEST_DIFFERENCE:
        comparison = "about as well as"
    else:
        comparison = "better than" if value < 0 else "worse than"
    return f"{compared[0]} did {comparison} {compared[1]} in a quick trial on this table"


def find_subject(name: str) -> str:
    """The meta-feature that says the same in words: a comparison by another loss names the same two models."""
    return name.replace(_ORDER, "probe_", 1) if name not in _SKILLS else name


def _rank(value: float, past: np.ndarray) -> int:
    """-1 where the value is low among past ones, 1 where it is high, 0 between."""
    known = past[np.isfinite(past)]
    if not known.size:
        return 0
    low, high = np.quantile(known, (LOW, HIGH))
    return int(value > high) - int(value < low)
