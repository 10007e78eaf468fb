from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("file", "0004_installations"),
    ]

    operations = [
        migrations.AddField(
            model_name="file",
            name="content_headers",
            field=models.JSONField(help_text="Content-Encoding and the like, if some were sent", null=True),
        ),
    ]
