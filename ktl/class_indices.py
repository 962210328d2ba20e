"""What class indices and sample counts must be, wherever they come from."""

from __future__ import annotations

from torch import Tensor

from ktl.errors import DataError


def check_range(classes: Tensor, num_classes: int) -> None:
    """Raises DataError, naming the first of the indices (n,) int64 that is outside 0..num_classes - 1."""
    if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= num_classes):
        bad = next(c for c in classes.tolist() if not 0 <= c < num_classes)
        raise DataError(f"class index {bad} is outside 0..{num_classes - 1}")


def check_one_each(classes: Tensor, counts: Tensor, num_classes: int, *, what: str, of: str) -> None:
    """Raises DataError unless classes (n,) are in range and distinct, and counts (n,) of samples at least 1; n >= 1.

    `what` each class has one of, and what it is made `of`, are for the error's words.
    """
    check_range(classes, num_classes)
    if len(classes.unique()) != len(classes):
        bad = next(c for c in classes.tolist() if int((classes == c).sum()) > 1)
        raise DataError(f"class index {bad} appears twice; send one {what} per class")
    if int(counts.min()) < 1:
        raise DataError(f"a class of {int(counts.min())} {of} has no {what}; leave it out")
