"""The Django project: settings, URLs, and the ASGI entry point."""

__version__ = "0.1.0"
