"""Compares the service with its alternatives: `python -m bench`, or `make bench`. bench/README.md says what and how.

Not part of the service: nothing in `mentumfileupload` or `file` imports it, and the image does not contain it.
"""
