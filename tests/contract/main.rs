//! What the store and the ledger promise, run on SQLite always and on Postgres when `TEST_POSTGRES_URL` is set.
//!
//! With `REQUIRE_SERVICES=1` a missing URL is a failure, so that a pipeline cannot skip half of the contract unseen.

#![expect(clippy::unwrap_used, reason = "a test that fails there has done its work")]

mod access;
mod bed;
mod events;
mod functions;
mod idempotency;
mod ledger;
mod logs;
mod objects;
mod objects_model;
mod ordered;
mod queue_model;
mod queues;
mod records;
mod spool;
mod triggers;
mod usage;
mod watching;
mod webhooks;

/// Makes two tests of each function, one per database.
macro_rules! contract {
    ($($area:ident { $($test:ident),* $(,)? })*) => {
        mod sqlite {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::bed::on_sqlite(crate::$area::$test).await;
                })*
            })*
        }
        mod postgres {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::bed::on_postgres(crate::$area::$test).await;
                })*
            })*
        }
    };
}

contract! {
    access {
        a_token_is_known_by_its_hash,
        only_the_default_namespace_exists_at_first,
        an_artifact_is_kept_as_it_was_first_given,
        an_artifact_needs_its_namespace,
        state_survives_reopening,
        a_closed_store_is_unavailable,
    }
    functions {
        a_deployment_makes_a_numbered_version,
        the_same_deployment_twice_changes_nothing,
        a_missing_artifact_leaves_nothing_behind,
        parallel_deployments_get_different_numbers,
        parallel_equal_deployments_make_one_version,
        deployments_and_deletions_may_cross,
        functions_are_listed_by_the_bytes_of_their_names,
        all_functions_are_listed_once,
        versions_are_listed_newest_first,
        the_functions_that_were_called_last_come_first,
        numbers_go_on_after_a_deletion,
        any_text_survives_in_the_configuration,
        secrets_are_kept_apart,
    }
    records {
        a_record_comes_back_as_it_was,
        a_record_belongs_to_its_namespace,
        a_segment_that_is_there_already_changes_nothing,
        parallel_inserts_of_the_same_segment_double_nothing,
        blocks_that_overlap_are_read_in_order,
        a_batch_is_inserted_all_or_none,
        pages_go_from_the_newest_to_the_oldest,
        failures_can_be_picked,
    }
    usage {
        usage_is_summed_by_function_version_and_day,
        the_range_of_time_includes_its_start_and_excludes_its_end,
        usage_outlives_the_function,
        a_sum_that_does_not_fit_is_an_error,
    }
    logs {
        without_a_cursor_the_newest_lines_come,
        a_cursor_goes_on_inside_an_invocation,
        a_follower_misses_nothing_while_two_controllers_write,
        a_page_is_bounded_in_bytes,
        any_text_survives_in_logs,
        an_invented_cursor_is_refused_or_harmless,
    }
    ledger {
        a_flush_brings_everything_into_the_database,
        a_killed_process_loses_and_doubles_nothing,
        many_threads_record_while_the_drain_runs,
        a_flush_waits_for_the_drain_that_is_under_way,
        a_stop_brings_the_rest_into_the_database,
        records_wait_while_the_database_is_away,
        a_record_that_cannot_be_stored_does_not_block_the_others,
    }
    events {
        an_event_lives_from_its_acceptance_to_its_result,
        an_attempt_that_is_not_the_current_one_changes_nothing,
        what_a_dead_process_held_is_anybodys,
        lanes_are_found_whatever_their_number,
        a_large_payload_comes_back_and_goes_with_its_event,
        an_event_is_cancelled_wherever_it_is,
        dead_letters_are_run_again_or_thrown_away,
        what_is_over_is_forgotten_in_its_time,
        follow_ups_come_with_the_end_or_not_at_all,
        two_controllers_share_the_work,
    }
    queue_model {
        the_queue_does_as_its_model,
    }
    triggers {
        a_trigger_comes_back_as_it_was_made,
        the_triggers_of_a_queue_are_found,
        two_schedulers_fire_every_tick_once,
    }
    queues {
        a_queue_comes_back_as_it_was_made,
        a_message_is_received_by_one_until_its_time_is_over,
        what_nobody_deletes_goes_to_the_dead_letters,
        messages_become_events_once,
        what_waits_is_purged,
        messages_are_forgotten_in_their_time,
    }
    ordered {
        one_event_of_a_key_at_a_time,
        order_holds_whatever_happens,
    }
    objects {
        an_object_and_its_events_come_together,
        what_was_replaced_or_deleted_leaves_files_to_be_removed,
        keys_are_listed_in_the_order_of_their_bytes,
        of_parallel_writers_that_want_to_be_first_one_is,
        an_upload_becomes_an_object_once,
        an_upload_that_is_given_up_leaves_nothing,
        a_bucket_goes_when_it_is_empty,
        a_bucket_has_one_key,
    }
    objects_model {
        objects_do_as_their_model,
    }
    watching {
        triggers_are_found_by_where_they_look,
        a_bucket_goes_after_what_waits_for_it,
        a_database_has_one_name,
    }
    webhooks {
        whoever_needs_a_secret_first_makes_it,
        the_secret_before_a_rotation_is_known,
        an_event_says_which_webhook_it_tells,
    }
    idempotency {
        events_and_their_key_are_accepted_together,
        keys_do_as_their_model,
    }
    spool {
        a_torn_tail_is_skipped_and_counted,
        garbage_between_records_is_skipped_and_counted,
        frames_of_another_version_are_set_aside,
        more_than_fits_one_file_goes_into_several,
        a_full_spool_refuses_until_it_is_drained,
        a_full_disk_refuses_and_recovers,
        a_lost_folder_refuses_and_recovers,
        a_full_memory_is_counted,
        a_record_with_enormous_logs_is_kept_without_them,
        a_spool_has_one_owner,
    }
}

/// What only a server can do to us.
mod postgres_only {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn several_controllers_may_open_an_empty_database_at_once() {
        crate::bed::on_postgres(crate::access::several_controllers_may_open_an_empty_database_at_once).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn broken_connections_lose_and_double_nothing() {
        crate::bed::on_postgres(crate::ledger::broken_connections_lose_and_double_nothing).await;
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_fails_at_once() {
        crate::access::an_address_where_nobody_listens_fails_at_once().await;
    }
}
