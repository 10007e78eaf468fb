"""Clients that upload to each account themselves, without a gateway.

Each is a script for the environment of the benchmark: `python -m bench.direct.with_obstore '{...}'`. It gets its task
as JSON, and prints one line of JSON, as the load generator does.
"""
