from __future__ import annotations

import pytest

from ktl.cooldown import cooled


@pytest.mark.parametrize(
    ("shown", "cooldown", "rate"),
    [(0.0, 0.0, 8.0), (0.99, 0.0, 8.0), (0.0, 0.25, 8.0), (0.75, 0.25, 8.0), (0.875, 0.25, 4.0), (0.5, 1.0, 4.0)],
)
def test_a_rate_falls_over_the_last_share_of_the_images(shown: float, cooldown: float, rate: float) -> None:
    assert cooled(8.0, shown, cooldown) == pytest.approx(rate)
