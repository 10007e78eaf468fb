"""Clients that upload to each account themselves: what one would do without a gateway.

Each is a script that runs in the benchmark's own environment: `python -m bench.direct.with_obstore '{...}'`. It is told
its task as JSON, and prints one line of JSON as the load generator does.
"""
