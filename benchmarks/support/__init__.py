"""What several benchmarks share: models, workloads, rivals, memory growth and report files."""
