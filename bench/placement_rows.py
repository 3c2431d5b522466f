"""Rows of nodes for the sides of `bench.placement` that are ours and by hand: as many as a round wants, none of them used."""

from typing import Any

from bench.claims import ROOM
from bench.reading import copy

RAW = (
    "CREATE DATABASE raw CHARACTER SET utf8mb4",
    "GRANT ALL ON raw.* TO steadyfist@'%'",
    "CREATE TABLE raw.nodes (uuid CHAR(36) PRIMARY KEY, cpus INT, memory_mb INT, disk_gb INT,"
    " used_cpus INT NOT NULL DEFAULT 0, used_memory_mb INT NOT NULL DEFAULT 0, used_disk_gb INT NOT NULL DEFAULT 0,"
    " free INT AS (memory_mb - used_memory_mb) STORED, KEY (free))",
    "CREATE TABLE raw.claims (uuid CHAR(36) PRIMARY KEY, node CHAR(36), cpus INT, memory_mb INT, disk_gb INT, KEY (node))",
)
EMPTY = (
    "DELETE FROM placement_reservations WHERE node_id IN (SELECT uuid FROM nodes WHERE name LIKE 'b%')",
    "UPDATE instances SET node_id = NULL WHERE node_id IN (SELECT uuid FROM nodes WHERE name LIKE 'b%')",
    "DELETE FROM node_objects WHERE node_id IN (SELECT uuid FROM nodes WHERE name LIKE 'b%')",
    "DELETE FROM node_capacity WHERE node_id IN (SELECT uuid FROM nodes WHERE name LIKE 'b%')",
    "TRUNCATE events",
    "TRUNCATE event_objects",
    "TRUNCATE raw.claims",
    "TRUNCATE raw.nodes",
)


def prepare(rows: Any, nodes: int, room: tuple[int, int, int], instances: int) -> None:
    """A thousand nodes that report for ever, and instances that no node has; the plane's own node is cordoned."""
    for statement in RAW:
        rows.execute(statement)
    rows.execute("UPDATE nodes SET cordoned = TRUE")
    rows.execute(
        "INSERT INTO nodes (uuid, name, state, byte_port, cordoned, carrier_eligible, last_seen, report_interval,"
        " clock_skew, actions, facts, inventory_wanted, mesh_address)"
        " SELECT UUID(), CONCAT('b', seq), 'created', 13004, FALSE, FALSE, UTC_TIMESTAMP(6) + INTERVAL 1 DAY, 30, 0,"
        " actions, '{}', FALSE, CONCAT('127.1.', seq DIV 250, '.', 1 + seq % 250)"
        f" FROM nodes, seq_1_to_{nodes} WHERE nodes.name = 'node1'"
    )
    rows.execute(
        "INSERT INTO node_credentials (node_id, signing_key, incarnation, seen_incarnation)"
        " SELECT nodes.uuid, signing_key, incarnation, seen_incarnation FROM nodes, node_credentials"
        " WHERE nodes.name LIKE 'b%'"
    )
    copy(rows, "instances", f"instances AS source, seq_1_to_{instances} WHERE source.name = 'first'")
    rows.execute("UPDATE instances SET node_id = NULL WHERE name LIKE 'n%'")
    resize(rows, nodes, room)
    rows.execute("ANALYZE TABLE nodes, instances")


def resize(rows: Any, nodes: int, room: tuple[int, int, int]) -> None:
    """So many nodes of both sides are usable and empty."""
    for statement in EMPTY:
        rows.execute(statement)
    rows.execute(f"UPDATE nodes SET state = IF(SUBSTR(name, 2) <= {nodes}, 'created', 'deleted') WHERE name LIKE 'b%'")
    cpus, memory_mb, disk_gb = room
    rows.execute(
        "INSERT INTO node_capacity (node_id, limit_cpus, limit_memory_mb, limit_disk_gb, used_cpus, used_memory_mb,"
        " used_disk_gb, largest_cpus)"
        f" SELECT uuid, {cpus}, {memory_mb}, {disk_gb}, 0, 0, 0, {cpus} FROM nodes"
        " WHERE name LIKE 'b%' AND state = 'created'"
    )
    rows.execute(
        "INSERT INTO node_objects (node_id, object_type, object_uuid, wanted, generation, applied_generation,"
        " applied_wanted, seq, absences, confirmed_at) SELECT nodes.uuid, object_type, object_uuid, wanted, generation,"
        " applied_generation, applied_wanted, seq, absences, confirmed_at FROM nodes, node_objects"
        " JOIN nodes home ON home.uuid = node_id AND home.name = 'node1'"
        " WHERE object_type = 'network' AND nodes.name LIKE 'b%' AND nodes.state = 'created'"
    )
    rows.execute(
        "INSERT INTO raw.nodes (uuid, cpus, memory_mb, disk_gb)"
        f" SELECT UUID(), {cpus}, {memory_mb}, {disk_gb} FROM seq_1_to_{nodes}"
    )
    rows.execute("ANALYZE TABLE node_capacity, placement_reservations, raw.nodes, raw.claims")


def counted(rows: Any) -> None:
    """Fails unless each node's counters are the sum of its reservations."""
    rows.execute(
        "SELECT COUNT(*) FROM node_capacity JOIN nodes ON nodes.uuid = node_id LEFT JOIN (SELECT node_id, SUM(cpus) AS sum"
        " FROM placement_reservations GROUP BY node_id) live USING (node_id)"
        f" WHERE name LIKE 'b%' AND used_cpus <> COALESCE(sum, 0) * {ROOM[0]}"
    )
    assert rows.fetchone() == (0,)
