"""The first version of this service, as plain as it was: a Django view, and boto3 for each account.

Runs in the benchmark's own environment, on Django's development server, as it did. `BENCH_WAY` says how it uploads:
`pool` (processes, a boto3 session a request and account) or `kept` (its fair successor: clients kept open, threads).
"""
