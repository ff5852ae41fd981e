"""Paths of the blog."""
from django.urls import path

from blog import views

urlpatterns = [
    path("", views.index),
    path("posts/<int:number>/", views.post),
    path("healthz", views.healthz),
]
