#!/usr/bin/env python
"""Django's command line for this project.

Every Python since 2.7 can run this file, so that a Python that is too old reports it in one line, without a traceback.
"""

import os
import sys


def main():
    if sys.version_info < (3, 11):  # noqa: UP036  (this line is for older Pythons)
        sys.exit(
            "Mentum file upload needs Python 3.11 or newer, because its HTTP client does and Python 3.10 has reached "
            "its end of life; this is Python " + ".".join(str(number) for number in sys.version_info[:2]) + "."
        )
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed for this Python: pip install -r requirements.txt (or activate .venv).")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
