"""Calibration, evaluation, analysis, simulation and trials of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.faces import lazy

if TYPE_CHECKING:
    from experiments.calibration.run import CalibrationSettings as CalibrationSettings
    from experiments.calibration.run import calibrate as calibrate
    from experiments.evaluation.run import EvaluationSettings as EvaluationSettings
    from experiments.evaluation.run import evaluate_model as evaluate_model
    from experiments.question import Question as Question
    from experiments.simulation.run import SimulationSettings as SimulationSettings
    from experiments.simulation.run import simulate_load as simulate_load

__getattr__, __all__ = lazy(
    __name__,
    {
        "CalibrationSettings": "experiments.calibration.run",
        "EvaluationSettings": "experiments.evaluation.run",
        "Question": "experiments.question",
        "SimulationSettings": "experiments.simulation.run",
        "calibrate": "experiments.calibration.run",
        "evaluate_model": "experiments.evaluation.run",
        "simulate_load": "experiments.simulation.run",
    },
)
