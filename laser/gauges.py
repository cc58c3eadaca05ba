"""What holds now, as values that Prometheus reads."""

from __future__ import annotations

from laser.deployment import Deployment
from laser.metrics import Gauge
from models.profile.profile import NEVER


def gauges(deployment: Deployment, *, vllm: bool) -> list[Gauge]:
    """The engine's load, the queue, and what the load-aware controller believes and does."""
    queue, load = deployment.loop.queue, deployment.loop.load
    usage = load.cells_reserved / load.cells_total
    found = [
        Gauge(name="laser_running", help="Requests in the engine.", value=queue.running),
        Gauge(name="laser_waiting", help="Requests in the queue.", value=queue.waiting),
        Gauge(name="laser_drain_seconds", help="Until all that wait have begun.", value=queue.drain_s),
        Gauge(name="laser_kv_cache_usage", help="Share of the KV cache that is reserved.", value=usage),
    ]
    if vllm:
        model = (("model_name", deployment.model_id),)
        for name, help, value in (
            ("vllm:num_requests_running", "Requests in the engine.", float(queue.running)),
            ("vllm:num_requests_waiting", "Requests in the queue.", float(queue.waiting)),
            ("vllm:kv_cache_usage_perc", "Share of the KV cache that is reserved; 1 is all.", usage),
        ):
            found.append(Gauge(name=name, help=help, labels=model, value=value))
    controller = deployment.chosen.controller
    if controller is None:
        return found
    state = controller.state
    found.append(Gauge(name="laser_arrival_rate", help="Requests/s, believed.", value=float(state.estimate.rate)))
    if state.price is not None:
        found.append(Gauge(name="laser_token_price", help="Correct answers that a token costs.", value=state.price))
    for name, limits in zip(state.classes, state.limits, strict=True):
        label = (("difficulty", name),)
        threshold = NEVER if limits.threshold is None else limits.threshold
        found.append(
            Gauge(name="laser_threshold", help="Confidence that closes a thought.", labels=label, value=threshold)
        )
        budget = float("inf") if limits.budget is None else float(limits.budget)
        found.append(Gauge(name="laser_budget_tokens", help="Thinking tokens.", labels=label, value=budget))
    return found
