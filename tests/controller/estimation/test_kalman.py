"""The filters give what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from controller.estimation.kalman import KalmanFilter, SwitchingFilter

RNG = np.random.default_rng(0)


def test_a_state_that_does_not_move_is_found_as_by_regression() -> None:
    """P⁻¹ = P₀⁻¹ + Σ HᵀH/R, and P⁻¹·x = P₀⁻¹·x₀ + Σ Hᵀz/R."""
    x, P = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 4.0, 0.25])
    found = KalmanFilter(x, P)
    sharpness, pull = np.linalg.inv(P), np.linalg.inv(P) @ x
    for _ in range(20):
        H, z, R = RNG.normal(size=3), float(RNG.normal()), float(RNG.uniform(0.1, 2.0))
        found.predict(np.zeros((3, 3)))
        found.update(z, H, R)
        sharpness, pull = sharpness + np.outer(H, H) / R, pull + H * z / R
    np.testing.assert_allclose(found.P, np.linalg.inv(sharpness))
    np.testing.assert_allclose(found.x, np.linalg.solve(sharpness, pull))
    np.testing.assert_allclose(found.P, found.P.T)


def test_a_measurement_s_likelihood_is_its_density_before_it_was_taken_in() -> None:
    found = KalmanFilter(np.array([2.0]), np.array([[3.0]]))
    found.predict(np.array([[1.0]]))
    found.update(4.0, np.ones(1), 5.0)
    assert found.likelihood == pytest.approx(np.exp(-0.5 * 2.0**2 / 9.0) / np.sqrt(2.0 * np.pi * 9.0))


def test_filters_are_weighed_by_how_well_they_explain_and_switching_changes_no_belief() -> None:
    both = SwitchingFilter([KalmanFilter(np.array([mean]), np.array([[1.0]])) for mean in (0.0, 5.0)])
    for one in both.filters:
        one.update(4.0, np.ones(1), 1.0)
    likely = np.array([one.likelihood for one in both.filters])
    both.weigh()
    assert both.weights == pytest.approx(likely / likely.sum())
    x, P = both.x, both.P
    both.switch(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert both.weights.sum() == pytest.approx(1.0)
    for one in both.filters:
        one.likelihood = 1.0  # nothing was measured
    both.weigh()
    np.testing.assert_allclose(both.x, x)
    np.testing.assert_allclose(both.P, P)


def test_a_measurement_that_no_filter_explains_leaves_their_weights() -> None:
    both = SwitchingFilter([KalmanFilter(np.array([0.0]), np.array([[1e-6]])) for _ in range(2)])
    for one in both.filters:
        one.update(1e6, np.ones(1), 1e-6)
    both.weigh()
    assert both.weights == pytest.approx([0.5, 0.5])
