"""The Django app: registers the system checks."""

from django.apps import AppConfig


class FileConfig(AppConfig):
    name = "file"

    def ready(self) -> None:
        import file.checks  # noqa: F401  (importing it registers the checks)
