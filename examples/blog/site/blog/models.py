"""What the blog keeps."""
from django.db import models


class Post(models.Model):
    """One article."""

    title = models.CharField(max_length=200)
    body = models.TextField()
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-written", "-id"]
