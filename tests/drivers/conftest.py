"""The folder `inside` is only for test_real_guest.py, which runs it in namespaces of its own."""

collect_ignore = ["inside"]
