"""Benchmarks of one engine against something else: llama.cpp against a bare loop, bfloat16 against float32."""
