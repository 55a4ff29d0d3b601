"""Measurements that a claim can rest on: `python -m benchmarks.NAME [--json]`.

Stands beside the house: nothing in `app/` or `analysis/` imports it.
"""
