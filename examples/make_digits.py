"""Write examples/digits.csv from scikit-learn's bundled data.

1,797 handwritten digits as 8 × 8 grey values, the target `digit` last: the test set of Alpaydin and Kaynak, 1998,
"Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licence
CC BY 4.0. None of the tables that the shipped knowledge base was measured on holds these rows.
"""

from pathlib import Path

from sklearn.datasets import load_digits

data = load_digits(as_frame=True)
frame = data.data.astype(int)
frame["digit"] = data.target
frame.to_csv(Path(__file__).parent / "digits.csv", index=False)
