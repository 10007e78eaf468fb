"""Django's default settings, without pages and a database, which the view does not need."""

import os

DEBUG = False
SECRET_KEY = "the-secret-key-of-a-benchmark"  # noqa: S105 - signs nothing
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "bench.contestants.firstdesign.urls"
INSTALLED_APPS: list[str] = []
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
USE_TZ = True
# Django keeps bodies above 2.5 MiB in a file.
FILE_UPLOAD_TEMP_DIR = os.environ["BENCH_FOLDER"]
