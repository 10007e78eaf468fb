"""Django's settings, made of the environment and `mentumfileupload/.env`. The only reader of the environment.

Promises: importing it never fails for what somebody configured, so that an image can be built and tests run without
any of it; the faults stand in `UPLOAD_FAULTS`, what was left aside in `UPLOAD_NOTES`, and `file/checks.py` turns both
into system checks. Everything of ours is in `UPLOAD`, whose attributes `file/service/settings.py` describes;
docs/settings.md describes each variable.
"""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from file.ledger.database.connection import with_ledger_options
from mentumfileupload.config.accounts import doubts
from mentumfileupload.config.environmentfile import read_environment
from mentumfileupload.config.uploadsettings import read_settings

BASE_DIR = Path(__file__).resolve().parent.parent

_environment, _file_faults = read_environment(os.environ, BASE_DIR / "mentumfileupload" / ".env")
_project = read_settings(_environment)

UPLOAD = _project.upload
UPLOAD_FAULTS: tuple[str, ...] = (*_file_faults, *_project.faults)
UPLOAD_NOTES: tuple[str, ...] = _project.notes
UPLOAD_DOUBTS: tuple[str, ...] = doubts(UPLOAD.accounts)

DEBUG = _project.debug
SECRET_KEY = _project.secret_key or get_random_secret_key()
SECRET_KEY_FALLBACKS = list(_project.former_secret_keys)
ALLOWED_HOSTS = list(_project.allowed_hosts)
DATABASES = {"default": with_ledger_options(_project.database)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# `file` stands first: its runserver starts the whole application, and not only Django.
INSTALLED_APPS = [
    "file",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mentumfileupload.contentsecurity.ContentSecurity",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "mentumfileupload.errorpages.PlainNotFound",
]
ROOT_URLCONF = "mentumfileupload.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# The admin's own; the application serves them in front of Django, with DEBUG off as well.
STATIC_URL = "/static/"
# With DEBUG on, an error page of Django's would show every variable and every setting.
DEFAULT_EXCEPTION_REPORTER = "mentumfileupload.errorpages.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "mentumfileupload.errorpages.NoValues"
TEST_RUNNER = "tests.runner.PytestRunner"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING_CONFIG = None  # structlog is set up where the service starts

# Uploads never come here; what Django reads into memory are forms of its own pages.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
# Behind a proxy that ends TLS, Django sees http, and a browser says that the form came from https.
CSRF_TRUSTED_ORIGINS = [f"https://{'*' if host.startswith('.') else ''}{host}" for host in ALLOWED_HOSTS if host != "*"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
