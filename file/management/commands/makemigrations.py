"""Django's `makemigrations`, without the checks of our settings, because it needs no accounts."""

from django.core.management.commands import makemigrations

from file.checks import TAGS_WITHOUT_SETTINGS


class Command(makemigrations.Command):
    requires_system_checks = TAGS_WITHOUT_SETTINGS
