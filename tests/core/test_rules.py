"""The ten rules of the ledger (architecture, §7), each with the tests that prove it.

Whoever renames or removes one of these tests finds here which rule would be left without a proof.
"""

import ast
import importlib
import re

import pytest

from tests.harness import ROOT

RULES: dict[str, list[str]] = {
    "1 transitions are fenced on claim_no, facts are not": [
        "core.test_claim::test_a_claim_that_comes_back_from_the_dead_is_fenced_though_its_attempt_is_the_same",
        "core.test_claim::test_claim_numbers_never_go_down_not_even_when_a_person_retries",
        "core.test_claim::test_facts_of_a_lost_claim_are_kept_though_its_transition_is_not",
        "core.test_repair::test_a_job_that_succeeds_while_it_is_being_cancelled_has_succeeded",
    ],
    "2 a send goes out only from a `sending` of this claim, an older one is unknown": [
        "messages.test_unknown::test_without_a_clear_answer_a_send_is_unknown_and_not_repeated",
        "messages.test_unknown::test_a_worker_killed_while_it_sends_leaves_an_unknown_and_no_second_message",
    ],
    "3 unique_key coalesces by DO UPDATE, one at a time is serial_key": [
        "core.test_unique_key::test_a_claim_waits_for_a_duplicate_that_is_not_committed_yet_and_sees_what_caused_it",
        "core.test_unique_key::test_a_job_that_runs_does_not_hold_its_key",
        "core.test_keys_at_work::test_with_many_at_once_nothing_that_was_asked_for_is_lost",
        "core.test_keys_at_work::test_jobs_with_one_serial_key_run_one_at_a_time_in_the_order_of_the_call",
    ],
    "4 domain rows are locked first and jobs last": [
        "core.test_lock_order::test_whoever_moves_a_job_waits_for_its_domain_row_with_the_job_unlocked",
        "core.test_lock_order::test_a_claim_takes_its_job_and_nothing_else_into_its_transaction",
        "core.test_lock_order::test_a_deadlock_between_doors_is_run_again_and_both_get_through",
    ],
    "5 mark, commit, publish; lost only against its own list; an outage of Postgres costs no ring and no lease": [
        "core.test_scheduler::test_a_broker_that_fails_while_it_is_rung_leaves_the_job_unrung",
        "core.test_scheduler::test_a_ring_that_the_broker_has_is_never_lost_however_long_it_waits",
        "core.test_scheduler::test_what_is_held_delayed_or_over_is_not_taken_for_lost",
        "core.test_scheduler::test_no_lease_expires_before_the_scheduler_has_had_postgres_for_a_whole_lease",
        "core.test_ring::test_nobody_is_rung_before_the_commit",
        "core.test_holds::test_what_is_due_is_not_rung_while_it_is_held",
        "core.test_claim::test_a_claim_waits_for_a_free_connection_and_does_not_drop_its_ring",
    ],
    "6 a calendar instant fires by compare-and-set, missed ones once, daylight saving is decided": [
        "core.test_calendar::test_two_schedulers_that_have_both_read_an_instant_fire_it_once_though_its_job_is_over",
        "core.test_calendar::test_missed_instants_are_caught_up_with_as_the_entry_says",
        "core.test_calendar::test_the_nights_of_daylight_saving_are_decided",
        "core.test_two_schedulers::test_two_schedulers_of_which_one_is_stopped_give_each_instant_exactly_one_job",
    ],
    "7 no NOTIFY, no foreign bytes in jsonb, no transaction beyond 30 s": [
        "core.test_rules::test_nothing_of_ours_notifies",
        "core.test_db::test_no_transaction_outlives_thirty_seconds_and_no_statement_a_minute",
        "core.test_claim::test_an_error_can_be_written_in_any_words",
        "messages.test_receive_kinds::test_nul_and_lone_surrogates_are_replaced_and_the_rest_is_kept",
    ],
    "8 snooze and retry are Celery's Retry, a revoke is a cancel, early ack with prefetch off on Redis": [
        "core.test_flower::test_flower_is_told_what_the_ledger_says",
        "core.test_flower::test_a_revoke_cancels_in_the_ledger_what_waits_and_what_runs",
        "core.test_flower::test_after_a_revoke_later_rings_of_the_same_job_still_work",
        "core.test_rules::test_on_redis_a_worker_takes_one_job_per_free_slot_and_acknowledges_it_at_once",
    ],
    "9 pace is reserved at most a second ahead, an emptied Redis grants no burst": [
        "core.test_pace::test_a_slot_is_reserved_at_most_a_second_ahead_and_the_rest_is_sent_away_evenly",
        "core.test_pace::test_a_redis_that_forgets_grants_no_burst",
        "core.test_caps::test_a_rate_is_kept_over_two_workers_and_is_reached",
    ],
    "10 time is the database's, with one offset for tests": [
        "core.test_db::test_the_clock_is_the_databases_and_can_be_moved_in_one_place",
        "core.test_outcomes::test_a_future_job_waits_for_its_moment_by_the_clock_of_the_database",
        "core.test_holds::test_a_hold_expires_by_the_clock_and_lets_its_jobs_go",
    ],
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_tests_that_exist(rule: str) -> None:
    for place in RULES[rule]:
        module, _, name = place.partition("::")
        assert callable(getattr(importlib.import_module(f"tests.{module}"), name, None)), place


def test_all_ten_rules_are_here() -> None:
    assert [int(rule.split()[0]) for rule in RULES] == list(range(1, 11))
    assert all(RULES.values())


def test_nothing_of_ours_notifies() -> None:
    """A NOTIFY takes a lock over the flush of the log: 7,500 commits a second become 2,860."""
    said = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("crm_tasks", "webapp", "migrations")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"^\s*NOTIFY\b|\bpg_notify\b", node.value, re.M)
    ]
    assert said == []


def test_on_redis_a_worker_takes_one_job_per_free_slot_and_acknowledges_it_at_once() -> None:
    from crm_tasks.celery import app

    assert (app.conf.task_acks_late, app.conf.worker_disable_prefetch) == (False, True)
    assert app.conf.worker_prefetch_multiplier == 1
