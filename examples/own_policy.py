"""A policy of one's own, in simulation: PYTHONPATH=examples laser serve --policy own_policy:Patient serves with it."""

from dataclasses import dataclass

from controller import FixedPolicy, Limits
from controller.policies.definition import Made, PolicyContext
from experiments import SimulationSettings, simulate_load
from experiments.workloads import Poisson


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Lets a thought go on until it is nearly certain, and at most for a budget."""

    threshold: float = 0.99  # confidence at which a thought is closed
    budget: int = 300  # thinking tokens

    def make(self, context: PolicyContext) -> Made:
        return Made(policy=FixedPolicy(Limits(threshold=self.threshold, budget=self.budget)))


if __name__ == "__main__":
    for policy in (Patient(), Patient(threshold=0.8)):
        found = simulate_load(SimulationSettings(workload=Poisson(rate=4.0), duration_s=60.0, policy=policy))
        right = sum(bool(one.right) for one in found.records) / len(found.records)
        print(f"{policy}: {right:.0%} right, {sum(one.rows for one in found.records)} rows")
