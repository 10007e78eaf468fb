"""The first version of this service: a Django view, and boto3 for each account.

Runs in the environment of the benchmark on Django's development server, as it did. `BENCH_WAY` says how it uploads:
`pool` (processes, a boto3 session per request and account) or `kept` (the fair improvement: open clients, threads).
"""
