"""What several benchmarks share: models, workloads, rivals, memory, and how a report is written."""
