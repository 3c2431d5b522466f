"""The tables exist as the models say, on a real MariaDB."""

import pytest

from sfweb.models import Namespace


@pytest.mark.django_db
def test_the_database_stamps_rows_with_its_own_clock():
    row = Namespace.objects.create(name="a")
    assert row.created_at is not None
