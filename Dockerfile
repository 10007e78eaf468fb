# The service and what it needs to run: no tests, no compiler, no secrets, not root.
#
#   docker build -t file-upload .
#   docker run --env-file mentumfileupload/.env -p 8000:8000 file-upload
FROM python:3.11-slim

# Log lines leave at once. The database lies on the volume unless DATABASE_URL says otherwise.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATABASE_URL=sqlite:////data/mentum.sqlite3

WORKDIR /app
COPY requirements/run.txt requirements/run.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt

# The number is fixed, so that a folder of the host can be given to it.
RUN groupadd --gid 10001 mentum \
    && useradd --uid 10001 --gid mentum --no-create-home --home-dir /data --shell /usr/sbin/nologin mentum \
    && install --directory --owner=mentum --group=mentum --mode=0750 /data
COPY manage.py ./
COPY mentumfileupload mentumfileupload
COPY file file

USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/_/health', timeout=4)"]
CMD ["python", "manage.py", "runserver", "0.0.0.0:8000"]
