"""The service as an ASGI application, for an ASGI server of the operator's own. `manage.py runserver` needs it not."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")

import django

django.setup()  # before the models are imported

from django.conf import settings

from file.service.application import create_application

application = create_application(settings.UPLOAD)
