"""The contestants: each can be started and stopped, receives uploads, and names its processes."""
