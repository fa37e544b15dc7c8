"""Tune: from a table or an objective to its best configuration, in the order tune, search, study, tuned."""
