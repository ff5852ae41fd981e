"""Pages of the blog. Posting is a plain form: POST / with title and body."""
import socket

from django.conf import settings
from django.db import connection
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render

from .models import Post

PAGE = 50


def index(request):
    """Lists the newest posts, or takes a new one."""
    if request.method == "POST":
        title, body = request.POST.get("title", "").strip(), request.POST.get("body", "").strip()
        if not title or not body:
            return HttpResponseBadRequest("title and body are needed\n")
        entry = Post.objects.create(title=title[:200], body=body)
        return HttpResponseRedirect(f"/posts/{entry.id}/")
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return page(request, "blog/index.html", {"posts": Post.objects.all()[:PAGE]})


def post(request, number):
    """Shows one post."""
    return page(request, "blog/post.html", {"post": get_object_or_404(Post, pk=number)})


def healthz(_request):
    """Is well if the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok\n", content_type="text/plain")


def page(request, template, context):
    """Renders a template with what every page shows."""
    return render(request, template, {"title": settings.TITLE, "host": socket.gethostname(), **context})
