"""The service as an ASGI application, for another ASGI server. `manage.py runserver` does not use this module."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")

import django

django.setup()  # before the models are imported

from django.conf import settings

from file.service.application import create_application

application = create_application(settings.UPLOAD)
