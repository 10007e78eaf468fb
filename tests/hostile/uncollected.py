"""`manage.py` without Python's collector of cycles: what stays in one stays for good, and can be seen.

`python -m tests.hostile.uncollected runserver ...`
"""

import gc

from manage import main

if __name__ == "__main__":
    gc.disable()
    main()  # type: ignore[no-untyped-call]
