"""Django's `migrate`, without the checks of our settings: a release is migrated before it is configured."""

from django.core.management.commands import migrate

from file.checks import TAGS_WITHOUT_SETTINGS


class Command(migrate.Command):
    requires_system_checks = TAGS_WITHOUT_SETTINGS
