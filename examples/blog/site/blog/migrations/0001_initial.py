"""The first table."""
from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates the posts."""

    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Post",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("title", models.CharField(max_length=200)),
                ("body", models.TextField()),
                ("written", models.DateTimeField(auto_now_add=True)),
            ],
            options={"ordering": ["-written", "-id"]},
        )
    ]
