"""The node's secret and signing key lie in a file of their own (SE-15)."""

import stat

from nodeagent.config import Config, identity_path, read_identity, write_identity
from nodeagent.journal import Journal


def document(secret):
    return {
        "node": "0b9a6c1e-1111-4222-8333-944455556666",
        "name": "n1",
        "secret": secret,
        "signing_key": f"key of {secret}",
        "broker_url": "",
        "control": ("http://127.0.0.1:13001",),
    }


def test_se_15_a_lost_journal_does_not_lose_the_identity_and_each_enrolment_replaces_it(tmp_path):
    config = Config(name="n1", mesh_address="127.0.0.1", state_dir=str(tmp_path / "state"))
    write_identity(config, document("first"))
    path = identity_path(config)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Journal(config.state / "journal.sqlite").close()
    for file in config.state.glob("journal.sqlite*"):
        file.unlink()
    assert read_identity(config).secret == "first"
    write_identity(config, document("second"))
    assert (read_identity(config).secret, read_identity(config).signing_key) == ("second", "key of second")
    assert "first" not in path.read_text()
    assert [file.name for file in config.state.glob("identity*")] == [path.name], "nothing half written is left"
