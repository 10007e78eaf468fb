"""Services that can be killed at a commit: `commit` is `before:intent`, `after:outcome` ... or empty (`deaths.KINDS`).

The database engine is SQLite's or PostgreSQL's own, and SIGKILL is the real one; only the moment is chosen.
`__main__.py` forks them.
"""
