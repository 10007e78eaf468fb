"""Where Django looks for an engine's `DatabaseWrapper`."""
