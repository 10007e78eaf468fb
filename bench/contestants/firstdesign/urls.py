"""The only URL."""

from django.urls import path

from bench.contestants.firstdesign.views import upload

urlpatterns = [path("upload", upload)]
