from django.db import migrations, models

# What earlier releases said by other columns: no attempt had ended, and there was no error. The first condition is that
# of the index of unfinished replicas: SQLite takes it only where it finds its very words.
_FILL = [
    """
    UPDATE file_replica SET begun_until = due_at
    WHERE state IN ('pending', 'blocked', 'erasing') AND attempts = 0 AND stored_at IS NULL AND EXISTS
    (SELECT 1 FROM file_file WHERE file_file.id = file_replica.file_id AND file_file.part_size IS NOT NULL)
    """,
    """
    UPDATE file_replica SET last_look = (error_code IS NULL)
    WHERE state IN ('pending', 'blocked', 'erasing') AND state = 'erasing'
    """,
    """
    UPDATE file_replica SET error_code = NULL
    WHERE state IN ('pending', 'blocked', 'erasing') AND state = 'erasing' AND error_code = 'unfinished'
    """,
]
# Earlier releases read a null error code as the first of two answers, and no ended attempt as an upload that may be open.
# One statement: PostgreSQL alters no table in which a row was changed more than once by the same transaction.
_UNFILL = """
    UPDATE file_replica SET
    error_code = CASE WHEN state = 'erasing' AND NOT last_look AND error_code IS NULL THEN 'unfinished' ELSE error_code END,
    attempts = CASE WHEN state = 'erasing' THEN attempts WHEN begun_until IS NOT NULL THEN 0
        WHEN attempts = 0 THEN 1 ELSE attempts END
    WHERE state IN ('pending', 'blocked', 'erasing')
    """


class Migration(migrations.Migration):
    dependencies = [
        ("file", "0005_content_headers"),
    ]

    operations = [
        # The databases rename the column in the index, too: it is not built again.
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveIndex("replica", "replica_due")]),
        migrations.RenameField("replica", "next_attempt_at", "due_at"),
        migrations.AlterField(
            "replica", "due_at", models.DateTimeField(help_text="from then on any worker may take it", null=True)
        ),
        migrations.AlterField("replica", "attempts", models.IntegerField(default=0, help_text="failed ones in a row")),
        migrations.AddField(
            "replica",
            "begun_until",
            models.DateTimeField(help_text="until then an upload may have begun that is not noted", null=True),
        ),
        migrations.AddField(
            "replica",
            "last_look",
            models.BooleanField(help_text="of an erasing one: the account must confirm only once more", null=True),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddIndex(
                    "replica",
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)),
                        fields=["account", "state", "due_at"],
                        name="replica_due",
                    ),
                )
            ]
        ),
        migrations.RunSQL(_FILL, _UNFILL),
    ]
