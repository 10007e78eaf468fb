"""Who is compared: each can be started, stopped, given uploads, and names its processes."""
