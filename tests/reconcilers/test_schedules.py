"""schedules: users' snapshots and commands, again and again (RO-1 … RO-14).

Due times are moved in rows (`make_due`), as the clock would move past them; what a tick becomes runs on machines in memory.
"""

import datetime

import pytest

from nodeagent.host import CommandResult, Refused
from sftasks import engine, ticks
from sftasks.operations import instance_delete, instance_power, instance_snapshot
from sftasks.reconcilers import hard_deletes, surplus_versions
from sftasks.reconcilers import schedules as reconciler
from sfweb.domain import limits, recurrence, schedules
from sfweb.domain.callers import CLUSTER
from sfweb.domain.namespaces import delete_namespace
from sfweb.domain.schedules import NewSchedule
from sfweb.errors import Conflict, LimitReached, NotFound, NotReady
from sfweb.models import (
    ArtifactVersion,
    Event,
    EventObject,
    Instance,
    Key,
    Namespace,
    Notice,
    NoticeChannel,
    Operation,
    Schedule,
    SnapshotSet,
    Tick,
)
from sfweb.models.fields import FromNow, UtcNow, database_now
from tests.operations.talking import make_talk

SNAPSHOT, EXECUTE = {"all": True, "max_versions": 3}, {"command_line": "backup"}


@pytest.fixture
def talking(guest):
    return make_talk(guest)


def make(cluster, kind="snapshot", arguments=None, every=3600, **more):
    wanted = NewSchedule(
        name="nightly",
        instance=cluster.instance,
        kind=kind,
        arguments=arguments or (SNAPSHOT if kind == "snapshot" else EXECUTE),
        recurrence=recurrence.every(every),
        **more,
    )
    return cluster.run(schedules.create, cluster.caller, wanted)


def make_due(row=None, seconds=1.0):
    """So many seconds ago it was due, and no rest after a failure is left."""
    rows = Schedule.objects.filter(pk=row.pk) if row else Schedule.objects.all()
    rows.update(next_tick=FromNow(-seconds), not_before=None)


def go(cluster, times=1):
    """The clock comes round, what that starts runs to its end, and the clock sees that."""
    for _ in range(times):
        make_due()
        cluster.run(reconciler.run)
        cluster.settle()
    return cluster.run(reconciler.run)


def told(row):
    return list(Tick.objects.filter(schedule=row).order_by("due").values_list("state", flat=True))


def fresh(row):
    return Schedule.objects.get(pk=row.pk)


def events_on(object_type, pk):
    uuids = EventObject.objects.filter(object_type=object_type, object_uuid=pk).values("event_uuid")
    return list(Event.objects.filter(pk__in=uuids).values_list("message", flat=True))


def test_ro_4_each_tick_is_an_ordinary_operation_with_targets_events_and_the_priority_of_what_can_wait(guest):
    row = make(guest)
    go(guest)
    operation = Operation.objects.get(kind="instance_snapshot")
    assert (operation.state, operation.priority, operation.namespace.name) == ("succeeded", 30, "tenant")
    assert operation.requested_by == "tenant/(schedule)"
    targets = dict(operation.targets.values_list("target_type", "target_uuid"))
    assert targets["instance"] == guest.instance.pk
    assert targets["schedule"] == row.pk
    assert "instance_snapshot succeeded" in events_on("schedule", row.pk)
    assert set(Event.objects.filter(request_id=f"schedule-{row.pk}").values_list("message", flat=True)) >= {
        "instance_snapshot requested",
        "instance_snapshot succeeded",
    }
    assert SnapshotSet.objects.get().reason == "schedule"
    assert told(row) == ["succeeded"]
    assert (fresh(row).last_state, fresh(row).consecutive_failures) == ("succeeded", 0)
    assert guest.findings() == []


def test_ro_4_a_command_is_run_in_the_guest(talking):
    talking.home.host.guests.commands["backup"] = CommandResult(code=0, stdout=b"ok", stderr=b"")
    row = make(talking, "execute")
    go(talking)
    assert told(row) == ["succeeded"]
    asked = row.ticks.get().operation.agent_operations.get()
    assert asked.results["0"]["stdout"] == "ok"


def test_ro_4_of_n_plus_one_snapshots_n_stay_and_each_of_them_is_whole(guest):
    row = make(guest, arguments={"all": True, "max_versions": 2})
    go(guest, 3)
    assert told(row) == ["succeeded"] * 3
    versions = ArtifactVersion.objects.filter(device="vda").order_by("index")
    assert [(one.index, one.blob.state) for one in versions] == [(2, "created"), (3, "created")]
    assert SnapshotSet.objects.filter(state="created").count() == 2, "nobody is shown a set that has nothing left"
    assert guest.findings() == []


def kept(row=None):
    """Versions of vda that this schedule made, or that were asked for by hand, by their number and the state of their bytes."""
    versions = ArtifactVersion.objects.filter(device="vda", snapshot_set__schedule_uuid=row and row.pk)
    return list(versions.order_by("index").values_list("index", "blob__state"))


def tick(cluster, row):
    cluster.ask(ticks.trigger, cluster.caller, row)
    cluster.settle()
    cluster.run(reconciler.run)


def test_ro_4_each_schedule_keeps_its_own_and_what_was_asked_for_by_hand_is_not_counted(guest):
    daily = make(guest, arguments={"all": True, "max_versions": 1})
    weekly = make(guest, arguments={"all": True, "max_versions": 2})
    guest.ask(instance_snapshot.request, guest.caller, guest.instance)
    guest.settle()
    for row in (daily, weekly, daily, weekly, daily, weekly, daily):
        tick(guest, row)
    assert kept() == [(1, "created")]
    assert kept(weekly) == [(5, "created"), (7, "created")]
    assert kept(daily) == [(8, "created")]
    for _ in range(3):
        guest.ask(instance_snapshot.request, guest.caller, guest.instance, None, 2)
        guest.settle()
    assert guest.run(surplus_versions.run) == {"trimmed": 0}
    assert [number for number, _ in kept()] == [10, 11]
    assert [number for number, _ in kept(weekly) + kept(daily)] == [5, 7, 8]
    assert guest.findings() == []


def test_ro_4_another_number_counts_from_the_next_tick_and_a_failed_one_takes_nothing_away(guest):
    row = make(guest, arguments={"all": True, "max_versions": 3})
    for _ in range(3):
        tick(guest, row)
    guest.run(schedules.change, guest.caller, row, {"arguments": {"all": True, "max_versions": 2}})
    fail_snapshots(guest)
    assert [number for number, _ in kept(row)] == [1, 2, 3]
    tick(guest, row)
    assert kept(row) == [(3, "created"), (4, "created")]


def test_ro_4_a_deleted_schedule_leaves_its_snapshots(guest):
    row = make(guest, arguments={"all": True, "max_versions": 2})
    for _ in range(2):
        tick(guest, row)
    guest.ask(ticks.trigger, guest.caller, row)
    guest.run(schedules.remove, guest.caller, row)
    guest.settle()
    assert [number for number, _ in kept(row)] == [1, 2, 3], "the last one was on its way"
    Schedule.objects.update(deleted_at=FromNow(-10_000))
    assert guest.run(hard_deletes.run)["schedules"] == 1
    guest.ask(instance_snapshot.request, guest.caller, guest.instance, None, 1)
    guest.settle()
    assert [number for number, _ in kept(row)] == [1, 2, 3]
    assert guest.findings() == []


def test_ro_5_a_second_pass_at_the_same_moment_finds_nothing(guest):
    make(guest)
    make_due()
    assert guest.run(reconciler.run)["started"] == 1
    assert guest.run(reconciler.run)["due"] == 0
    assert Operation.objects.filter(kind="instance_snapshot").count() == 1


def test_ro_5_whoever_comes_with_an_old_due_time_gets_nothing(guest):
    row = make(guest)
    make_due()
    due = fresh(row).next_tick
    following = due + datetime.timedelta(hours=1)
    assert [guest.run(ticks.take, [ticks.Due(row.pk, due, following)]) for _ in range(2)] == [1, 0]
    assert Tick.objects.count() == 1


def test_ro_5_a_process_that_dies_before_its_commit_has_done_nothing(guest, monkeypatch):
    row = make(guest)
    make_due()
    before = fresh(row).next_tick

    def dies(*_, **__):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ticks, "_write", dies)
        with pytest.raises(SystemExit):
            guest.run(reconciler.run)
    assert (fresh(row).next_tick, Tick.objects.count()) == (before, 0)
    assert not Operation.objects.filter(kind="instance_snapshot").exists()
    assert not SnapshotSet.objects.exists()
    guest.run(reconciler.run)
    guest.settle()
    guest.run(reconciler.run)
    assert told(row) == ["succeeded"]


def test_ro_5_a_process_that_dies_after_its_commit_leaves_the_operation_to_the_sweep(guest, monkeypatch):
    row = make(guest)
    make_due()
    with monkeypatch.context() as patch:
        patch.setattr(reconciler, "ADVANCING_SECONDS", -1.0)
        guest.run(reconciler.run)
    operation = Operation.objects.get(kind="instance_snapshot")
    assert operation.state == "waiting"
    Operation.objects.filter(pk=operation.pk).update(created_at=FromNow(-60))
    guest.settle()
    guest.run(reconciler.run)
    assert told(row) == ["succeeded"]


def test_ro_6_what_was_missed_is_made_up_for_once_and_then_the_grid_goes_on(guest):
    row = make(guest, every=3600)
    make_due(row, 5 * 3600 + 100)
    slot = fresh(row).next_tick
    guest.run(reconciler.run)
    assert [tick.due for tick in row.ticks.all()] == [slot]
    assert fresh(row).next_tick == slot + datetime.timedelta(hours=6)
    assert guest.run(reconciler.run)["due"] == 0


def test_ro_6_a_clock_that_is_put_back_has_no_tick_twice(guest):
    row = make(guest, every=60)
    make_due(row)
    guest.run(reconciler.run)
    [tick] = row.ticks.all()
    guest.settle()
    Schedule.objects.update(next_tick=tick.due)  # as a clock that was put back computes it
    assert guest.run(reconciler.run)["started"] == 0
    assert fresh(row).next_tick == tick.due + datetime.timedelta(seconds=60)
    assert (told(row), Operation.objects.filter(kind="instance_snapshot").count()) == (["succeeded"], 1)
    assert SnapshotSet.objects.count() == 1


def hold(talking):
    """A command that goes on until the test ends it."""
    talking.home.host.guests.commands["backup"] = None


def test_ro_7_skip_leaves_a_tick_out_while_an_earlier_one_runs(talking):
    hold(talking)
    row = make(talking, "execute", overlap="skip")
    for _ in range(2):
        make_due()
        talking.run(reconciler.run)
    assert told(row) == ["started", "skipped"]
    assert row.ticks.get(state="skipped").reason == ticks.IN_FLIGHT
    assert fresh(row).consecutive_failures == 0
    assert fresh(row).last_state == "skipped"


def test_ro_7_queue_lets_one_wait_and_no_more(talking):
    hold(talking)
    row = make(talking, "execute", overlap="queue")
    for _ in range(3):
        make_due()
        talking.run(reconciler.run)
    talking.settle(rounds=3)
    assert told(row) == ["started", "started", "skipped"]
    states = Operation.objects.filter(kind="guest_execute").order_by("created_at").values_list("state", flat=True)
    assert list(states) == ["running", "waiting"]
    talking.home.host.guests.commands["backup"] = CommandResult(code=0, stdout=b"", stderr=b"")
    talking.settle()
    talking.run(reconciler.run)
    assert told(row) == ["succeeded", "succeeded", "skipped"]


def test_ro_7_replace_asks_the_running_one_to_stop_and_runs_after_it(talking):
    hold(talking)
    row = make(talking, "execute", overlap="replace")
    make_due()
    talking.run(reconciler.run)
    talking.settle(rounds=3)
    make_due()
    talking.run(reconciler.run)
    assert talking.run(reconciler.run)["withdrawn"] == 1
    assert talking.run(reconciler.run)["withdrawn"] == 0
    talking.home.host.guests.commands["backup"] = CommandResult(code=0, stdout=b"", stderr=b"")
    talking.settle()
    talking.run(reconciler.run)
    assert told(row) in (["cancelled", "succeeded"], ["succeeded", "succeeded"])
    assert fresh(row).consecutive_failures == 0


def test_ro_7_one_that_only_waits_is_replaced_at_once(talking):
    hold(talking)
    row = make(talking, "execute", overlap="replace")
    for _ in range(3):
        make_due()
        talking.run(reconciler.run)
    talking.run(reconciler.run)
    talking.run(reconciler.run)
    assert told(row)[1] == "cancelled"
    assert fresh(row).consecutive_failures == 0


def fail_snapshots(cluster, times=1):
    for _ in range(times):
        cluster.home.host.fail_next("snapshot_disks", Refused("disk.full", "no room"))
        go(cluster)


def test_ro_8_a_failed_tick_ends_nothing_and_is_rested_from(guest):
    row = make(guest, every=60)
    fail_snapshots(guest)
    assert told(row) == ["failed"]
    assert row.ticks.get().reason == "disk.full: no room"
    row = fresh(row)
    assert (row.state, row.consecutive_failures, row.last_reason) == ("created", 1, "disk.full: no room")
    assert 55 < (row.not_before - database_now()).total_seconds() <= 60
    Schedule.objects.update(next_tick=FromNow(-1))
    assert guest.run(reconciler.run)["due"] == 0, "it rests"
    go(guest)
    assert told(row) == ["failed", "succeeded"]
    assert (fresh(row).consecutive_failures, fresh(row).not_before) == (0, None)


def test_ro_8_five_failures_in_a_row_pause_it_and_resuming_forgets_them(guest):
    NoticeChannel.objects.create(name="ops", kind="email", address="ops@example.org")
    row = make(guest)
    fail_snapshots(guest, 4)
    go(guest)
    fail_snapshots(guest, 4)
    assert fresh(row).state == "created", "a success in between starts the count again"
    fail_snapshots(guest)
    paused = fresh(row)
    assert (paused.state, paused.consecutive_failures) == ("paused", 5)
    assert paused.paused_reason == "5 ticks in a row failed, the last one: disk.full: no room"
    expected = "recurring operation paused by tenant/(schedule)"
    assert expected in events_on("schedule", row.pk)
    assert expected in events_on("instance", guest.instance.pk)
    notice = Notice.objects.get(kind="schedule.paused")
    assert notice.sentence == f"schedule {row.name} is paused: {paused.paused_reason}"
    make_due()
    assert guest.run(reconciler.run)["due"] == 0
    guest.run(schedules.resume, guest.caller, row)
    resumed = fresh(row)
    assert (resumed.state, resumed.consecutive_failures, resumed.paused_reason) == ("created", 0, None)
    assert resumed.next_tick > database_now(), "what was due meanwhile is not made up for"
    go(guest)
    assert fresh(row).last_state == "succeeded"


@pytest.mark.parametrize("code", [0, 3])
def test_ro_8_a_command_counts_by_its_return_code(talking, code):
    talking.home.host.guests.commands["backup"] = CommandResult(code=code, stdout=b"", stderr=b"")
    row = make(talking, "execute")
    go(talking)
    assert told(row) == ["failed" if code else "succeeded"]
    assert row.ticks.get().reason == ("return code 3" if code else "")
    assert fresh(row).consecutive_failures == bool(code)


def test_ro_9_a_command_that_never_ends_is_bounded_by_its_deadline(talking):
    hold(talking)
    row = make(talking, "execute", {"command_line": "backup", "deadline_seconds": 1})
    make_due()
    talking.run(reconciler.run)
    talking.settle(rounds=2)
    asked = row.ticks.get().operation.agent_operations
    asked.update(deadline=FromNow(-1))
    talking.settle()
    talking.run(reconciler.run)
    assert told(row) == ["failed"]
    assert row.ticks.get().reason.startswith("guest.deadline")


def test_ro_10_an_instance_that_is_off_is_captured_and_asked_nothing(talking):
    talking.ask(instance_power.request, talking.caller, talking.instance, "poweroff")
    talking.settle()
    make_talk(talking)
    snapshot, execute = make(talking), make(talking, "execute")
    go(talking)
    assert told(snapshot) == ["succeeded"]
    assert told(execute) == ["skipped"]
    assert "agent of instance guest is not ready" in execute.ticks.get().reason
    assert fresh(execute).consecutive_failures == 0


def test_ro_10_a_schedule_goes_with_its_instance(guest):
    row = make(guest)
    paused = make(guest, is_enabled=False)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    make_due()
    guest.run(reconciler.run)
    assert told(row) == ["skipped"], "while it is going, there is nothing to capture and nothing wrong"
    guest.settle()
    assert guest.run(reconciler.run)["deleted"] == 2
    assert fresh(row).state == fresh(paused).state == "deleted"
    assert "recurring operation deleted with its instance by system/(cluster)" in events_on("schedule", row.pk)
    Schedule.objects.update(deleted_at=FromNow(-10_000))
    assert guest.run(hard_deletes.run)["schedules"] == 2
    assert not Schedule.objects.exists()
    assert not Tick.objects.exists()


def test_ro_10_an_instance_that_was_forgotten_first_takes_its_schedules_along(guest):
    make(guest)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    Instance.objects.update(deleted_at=FromNow(-10_000))
    assert guest.run(hard_deletes.run)["instances"] == 1
    assert not Schedule.objects.exists()


def test_ro_11_the_key_that_made_it_may_go_and_it_goes_on(guest):
    row = make(guest)
    assert not Key.objects.filter(name=guest.caller.key_name).exists()
    go(guest)
    assert told(row) == ["succeeded"]


def test_ro_11_rights_are_looked_at_again_at_each_tick(guest):
    row = make(guest)
    elsewhere = Namespace.objects.create(name="elsewhere")
    Instance.objects.update(namespace=elsewhere)
    make_due()
    guest.run(reconciler.run)
    assert told(row) == ["failed"]
    assert "instance not found" in row.ticks.get().reason
    assert not Operation.objects.filter(kind="instance_snapshot").exists()


def test_ro_11_a_deleted_namespace_has_no_schedules(guest):
    row = make(guest)
    tenant = Namespace.objects.get(name="tenant")
    Namespace.objects.filter(pk=tenant.pk).update(state="deleted")
    make_due()
    guest.run(reconciler.run)
    assert told(row) == ["failed"]
    Namespace.objects.filter(pk=tenant.pk).update(state="created")
    guest.instance.namespace.networks.update(state="deleted")
    guest.instance.namespace.artifacts.update(state="deleted")
    Instance.objects.update(state="deleted")
    guest.run(delete_namespace, CLUSTER, tenant)
    assert fresh(row).state == "deleted"
    assert any("with its namespace" in message for message in events_on("schedule", row.pk))


def test_ro_12_one_that_raises_does_not_keep_the_others(guest, monkeypatch):
    broken, sound = make(guest), make(guest)
    make_due(broken, 100)
    make_due(sound, 1)
    genuine = ticks.ASK["snapshot"]

    def ask(claimed):
        if any(one.row.pk == broken.pk for one in claimed):
            raise RuntimeError("never seen before")
        return genuine(claimed)

    monkeypatch.setattr(ticks, "ASK", {**ticks.ASK, "snapshot": ask})
    guest.run(reconciler.run)
    assert told(broken) == ["failed"]
    assert broken.ticks.get().reason == "internal error: RuntimeError"
    assert told(sound) == ["started"]
    assert fresh(broken).next_tick > database_now(), "it is not the first of each page for ever"


def test_ro_5_two_schedules_of_one_instance_in_one_batch_make_a_version_each(guest):
    first, second = make(guest), make(guest)
    make_due()
    guest.run(reconciler.run)
    guest.settle()
    guest.run(reconciler.run)
    assert (told(first), told(second)) == (["succeeded"], ["succeeded"])
    sets = SnapshotSet.objects.order_by("created_at", "uuid")
    assert {row.schedule_uuid for row in sets} == {first.pk, second.pk}
    versions = ArtifactVersion.objects.filter(snapshot_set__isnull=False).order_by("index")
    assert [version.index for version in versions] == [1, 2]
    assert len({version.artifact_id for version in versions}) == 1


def test_ro_12_a_tick_that_cannot_be_settled_is_given_up_and_keeps_nobody(guest, monkeypatch):
    broken, sound = make(guest), make(guest)
    make_due()
    guest.run(reconciler.run)
    guest.settle()
    genuine = ticks._verdict

    def verdict(operation):
        if operation.ticks.get().schedule_id == broken.pk:
            raise KeyError("results")
        return genuine(operation)

    monkeypatch.setattr(ticks, "_verdict", verdict)
    guest.run(reconciler.run)
    assert told(broken) == ["cancelled"]
    assert broken.ticks.get().reason == "internal error: KeyError"
    assert told(sound) == ["succeeded"]


def test_ro_12_one_whose_time_zone_is_gone_stops_and_says_so(guest):
    broken, sound = make(guest), make(guest)
    Schedule.objects.filter(pk=broken.pk).update(every_seconds=None, cron="0 3 * * *", timezone="Mars/Base")
    make_due()
    guest.run(reconciler.run)
    assert fresh(broken).state == "error"
    assert "Mars/Base" in fresh(broken).paused_reason
    assert told(sound) == ["started"]
    guest.run(schedules.change, guest.caller, fresh(broken), {"timezone": "Europe/Berlin"})
    guest.run(schedules.resume, guest.caller, fresh(broken))
    assert fresh(broken).state == "created"


def test_ro_14_pages_are_bounded_and_the_longest_overdue_comes_first(guest, monkeypatch):
    monkeypatch.setattr(reconciler, "PAGE", 2)
    rows = [make(guest) for _ in range(5)]
    for number, row in enumerate(rows):
        make_due(row, 100 - number)
    seen = []
    genuine = ticks.take
    monkeypatch.setattr(ticks, "take", lambda dues: seen.append([due.schedule for due in dues]) or genuine(dues))
    guest.run(reconciler.run)
    assert seen == [[row.pk for row in rows[start : start + 2]] for start in (0, 2, 4)]


def test_se_12_a_full_queue_of_the_namespace_postpones_a_tick_and_loses_none(guest, settings):
    row = make(guest)
    settings.NAMESPACE_MAX_WAITING = 0
    make_due()
    assert guest.run(reconciler.run)["started"] == 0
    waits = fresh(row)
    assert (told(row), waits.consecutive_failures) == ([], 0)
    assert "at most 0 waiting_operations" in waits.last_reason
    assert waits.not_before > database_now()
    settings.NAMESPACE_MAX_WAITING = 200
    Schedule.objects.update(not_before=UtcNow())
    slot = waits.next_tick
    guest.run(reconciler.run)
    assert [tick.due for tick in row.ticks.all()] == [slot]


def test_se_12_a_namespace_has_so_many_schedules_and_no_more(guest):
    limits.set_limits(CLUSTER, Namespace.objects.get(name="tenant"), {"schedules": 1})
    row = make(guest)
    with pytest.raises(LimitReached):
        make(guest)
    guest.run(schedules.remove, guest.caller, row)
    make(guest)


def test_ro_3_a_trigger_is_a_tick_of_whoever_asks_also_when_it_is_paused(guest):
    row = make(guest, is_enabled=False)
    before = fresh(row).next_tick
    made = guest.ask(ticks.trigger, guest.caller, row)
    assert made.operation.requested_by == "tenant/test"
    with pytest.raises(Conflict):
        guest.ask(ticks.trigger, guest.caller, row)
    guest.settle()
    guest.run(reconciler.run)
    assert told(row) == ["succeeded"]
    assert (fresh(row).state, fresh(row).next_tick) == ("paused", before)


def test_ro_3_a_trigger_that_is_refused_leaves_nothing(guest):
    row = make(guest)
    Instance.objects.update(state="error")
    with pytest.raises(NotReady):
        guest.ask(ticks.trigger, guest.caller, row)
    assert not Tick.objects.exists()
    assert fresh(row).last_tick is None
    guest.run(schedules.remove, guest.caller, row)
    with pytest.raises(NotFound):
        guest.ask(ticks.trigger, guest.caller, row)


def test_an_owner_cancels_what_a_schedule_started_and_that_is_no_failure(talking):
    hold(talking)
    row = make(talking, "execute")
    make_due()
    talking.run(reconciler.run)
    talking.settle(rounds=3)
    talking.run(engine.cancel, row.ticks.get().operation_id, talking.caller)
    talking.settle()
    talking.run(reconciler.run)
    assert told(row) == ["cancelled"]
    assert fresh(row).consecutive_failures == 0


def test_co_13_ticks_are_kept_as_long_as_operations_and_open_ones_for_ever(guest):
    row = make(guest)
    go(guest, 2)
    Tick.objects.update(created_at=FromNow(-8 * 86400))
    make_due()
    guest.run(reconciler.run)
    Tick.objects.filter(state="started").update(created_at=FromNow(-8 * 86400))
    assert guest.run(hard_deletes.run)["ticks"] == 2
    assert told(row) == ["started"]
