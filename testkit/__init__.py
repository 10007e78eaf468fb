"""Real S3 servers and a fault proxy, for the demo, the tests and the benchmark alike.

Not part of the service: nothing in `mentumfileupload` or `file` imports it, and the image does not carry it.
"""
