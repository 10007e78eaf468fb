"""Django as it is set up anew, without what the view does not need: pages and a database."""

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
# Bodies above 2.5 MiB lie in a file while they are handled.
FILE_UPLOAD_TEMP_DIR = os.environ["BENCH_FOLDER"]
