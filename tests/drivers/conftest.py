"""The folder `inside` is only for test_real_guest.py, which runs it in namespaces of its own."""

import os

collect_ignore = [] if os.getpid() < 10 else ["inside"]
