"""Django's settings, from the environment and `mentumfileupload/.env`. No other module reads the environment.

Promises: a wrong configuration never makes the import fail, so that an image can be built, and tests can run, without
any configuration. `UPLOAD_FAULTS` has the faults and `UPLOAD_NOTES` the ignored variables; `file/checks.py` turns both
into system checks. All settings of the service are in `UPLOAD`: `file/service/settings.py` describes its attributes,
docs/settings.md each variable.
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

# `file` comes first: its runserver starts the whole application, not only Django.
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
# The files of the admin. The application serves them in front of Django, also with DEBUG=false.
STATIC_URL = "/static/"
# With DEBUG=true, Django's own error page would show every variable and every setting.
DEFAULT_EXCEPTION_REPORTER = "mentumfileupload.errorpages.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "mentumfileupload.errorpages.NoValues"
TEST_RUNNER = "tests.runner.PytestRunner"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING_CONFIG = None  # structlog is configured where the service starts

# Django never receives uploads; it reads only the forms of its own pages into memory.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
# Behind a proxy that ends TLS, Django sees http, but the browser sends an origin with https.
CSRF_TRUSTED_ORIGINS = [f"https://{'*' if host.startswith('.') else ''}{host}" for host in ALLOWED_HOSTS if host != "*"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
