from uuid import uuid4, uuid5

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models.functions import Now


def make_own(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The id is made with the ledger, so that every copy of the ledger has it.

    A ledger that has files already is known by its first one, so that its older copies get the same id.
    """
    alias = schema_editor.connection.alias
    acknowledged = apps.get_model("file", "File").objects.using(alias).filter(stored_at__isnull=False)
    first = acknowledged.order_by("pk").values_list("pk", flat=True).first()
    own = uuid4() if first is None else uuid5(first, "installation")
    apps.get_model("file", "Installation").objects.using(alias).create(id=str(own), is_own=True, created_at=Now())


class Migration(migrations.Migration):
    dependencies = [
        ("file", "0003_catch_up_and_erasure"),
    ]

    operations = [
        migrations.CreateModel(
            name="GivenUpFile",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("given_up_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                (
                    "id",
                    models.CharField(
                        help_text="UUID, and in the metadata of every object",
                        max_length=36,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("is_own", models.BooleanField()),
                ("created_at", models.DateTimeField()),
                ("behind_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_own", True)), fields=("is_own",), name="one_own_installation"
                    )
                ],
            },
        ),
        migrations.RunPython(make_own, migrations.RunPython.noop),
    ]
