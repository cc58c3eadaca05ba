"""Risk as a budget over time: what an account of risk gives in a burst, and whether it keeps what it promises.

Aims, written before anything was measured with this code; risk .02, peak .10, simulated on the bundled records:

- `python -m benchmarks.risk.bursts`: after an hour of calm (load .4 of capacity), the burst and the flash crowd of
  configs/experiments/simulated.yaml, at least 20 seeds: utility (100·accuracy less what a second of latency costs: 6.43
  points, by the profile) over the requests that arrive from the burst's start until the queue is back, above every
  constant's on the same requests, first come and shortest first; over the calm hour no worse than the best constant's
  less .2; the mean charged over the whole at most .02.
- `python -m benchmarks.risk.streams`: on recorded thoughts whose true harm is known, 400 streams with load correlated
  with the thoughts' length and family, thresholds moved every 20 to 200 tokens: mean harm realised at most mean
  charged.

Seeds below 100 are for choosing settings, seeds from 100 on for the result. Chosen on seeds 1 to 3 of the second
bundled model is the account at its defaults, shortest first.
"""
