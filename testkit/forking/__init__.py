"""Python commands forked from a process that has imported the libraries: a cold start imports for half a second."""
