"""Real S3 servers, a fault proxy, and the service as a process: for the demo, the tests, the soak, and the benchmark.

Not part of the service: nothing in `mentumfileupload` or `file` imports it, and the image does not contain it.
"""
