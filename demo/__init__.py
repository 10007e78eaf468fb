"""`make demo`: shows an upload to three real S3 servers."""
