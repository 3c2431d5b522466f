"""Django's backend for MariaDB, with a round trip less for every transaction (ADR 3)."""
