"""Simulates a minute of load on the bundled model under two policies: python examples/simulate.py"""

from controller.policies.fixed import FixedThreshold
from controller.policies.load_aware import LoadAware
from experiments import SimulationSettings, simulate_load
from experiments.workloads import Poisson

for policy in (FixedThreshold(threshold=0.95), LoadAware()):
    found = simulate_load(SimulationSettings(workload=Poisson(rate=6.0), duration_s=60.0, policy=policy))
    latency_s = sum(one.latency_s for one in found.records) / len(found.records)
    right = sum(bool(one.right) for one in found.records) / len(found.records)
    print(f"{policy.kind}: {latency_s:.2f} s mean latency, {right:.0%} right, {len(found.records)} requests")
