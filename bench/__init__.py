"""The service beside its peers: `python -m bench`, or `make bench`. bench/README.md says what is measured and how.

Not part of the service: nothing in `mentumfileupload` or `file` imports it, and the image does not carry it.
"""
