"""Record who made a Bedrock call, and the session tags of the credentials it was made with.

Trigger  Bedrock inference calls, changes and STS sessions in CloudTrail, by way of EventBridge and SQS; S3 "Object Created" of
         trail files, likewise.
Effect   the observed half of an item in Invocations; remembered sessions; metrics of changes that an operator should know of.
Retry    safe: of the records of a call the same one always stands, a session is the same whenever it is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from adapters import wiring
from adapters.contracts import ObjectCreated, read
from adapters.messages import process_together
from adapters.observability import count, logger, metrics
from adapters.settings import RecordApiCalls, load
from adapters.sources.cloudtrail import S3TrailFiles, folded, is_trail_file, parse_event, read_message
from attribution.directory import INFERENCE_PROFILE
from attribution.flows.record_api_calls import RecordedCalls, record_api_calls, record_trail_file
from attribution.ports import Change, ObservedChange, StoredObject, TrailEvent
from attribution.tag_history import ACCOUNT, PRINCIPALS, PROJECT, identity_of

settings = load(RecordApiCalls)
tag_keys = folded(settings.allocation_tag_keys)
trail_files = S3TrailFiles(wiring.client("s3"), settings.trail_bucket, settings.trail_prefix, settings.allocation_tag_keys)
invocations = wiring.invocations(settings)
sessions = wiring.sessions(settings)
prices = wiring.prices(settings)
directory = wiring.directory(settings)
quarantine = wiring.quarantine(settings)
redelivery = wiring.redelivery()
directory_tasks = wiring.directory_tasks(settings)

METRICS = {
    Change.LOGGING_CHANGED: "InvocationLoggingChanged",
    Change.LOGGING_DELETED: "InvocationLoggingDeleted",
    Change.INFERENCE_PROFILES: "InferenceProfilesChanged",
    Change.PROJECTS: "ProjectsChanged",
    Change.PRINCIPALS: "PrincipalsChanged",
    Change.ACCOUNTS: "AccountsChanged",
    Change.BATCH_JOB: "BatchJobsCreated",
}


# Which kinds of entries a change may be about: others than these have no tags that cost is allocated by.
CHANGES_OF_ENTRIES = {
    Change.INFERENCE_PROFILES: (INFERENCE_PROFILE,),
    Change.PROJECTS: (PROJECT,),
    Change.PRINCIPALS: PRINCIPALS,
    Change.ACCOUNTS: (ACCOUNT,),
}


def record_messages(messages: Sequence[tuple[str, str]]) -> dict[str, Exception]:
    """Record single events together and each trail file on its own; returns the errors of messages by name."""
    errors: dict[str, Exception] = {}
    events: dict[str, TrailEvent] = {}
    for body, name in messages:
        try:
            message = read_message(body, name)
            if message.is_about_an_object:
                record_file(read(ObjectCreated, body, name).source)
            elif event := parse_event(message.detail, tag_keys):
                events[name] = event
            else:
                logger.info("event ignored", reason="it says nothing about who used a model")
        except Exception as error:  # The messages beside it are none the worse.
            errors[name] = error
    return errors | record_events(events)


def record_events(events: Mapping[str, TrailEvent]) -> dict[str, Exception]:
    outcomes = record_api_calls(
        list(events.values()),
        invocations=invocations,
        sessions=sessions,
        prices=prices,
        directory=directory,
        oldest=wiring.oldest_recordable(settings),
    )
    recorded = [outcome for outcome in outcomes if isinstance(outcome, RecordedCalls)]
    follow_up(sum(recorded, start=RecordedCalls()))
    return {name: outcome for name, outcome in zip(events, outcomes, strict=True) if isinstance(outcome, Exception)}


def record_file(source: StoredObject) -> None:
    if not is_trail_file(source.key):
        logger.info("object ignored", object=str(source), reason="not a trail file")
        return
    outcome = record_trail_file(
        source,
        trail_files=trail_files,
        invocations=invocations,
        sessions=sessions,
        prices=prices,
        directory=directory,
        quarantine=quarantine,
        oldest=wiring.oldest_recordable(settings),
    )
    follow_up(outcome)
    logger.info("trail file recorded", extra={"object": str(source), **outcome.counts()})


def follow_up(outcome: RecordedCalls) -> None:
    for metric, value in (
        ("ApiCallsRecorded", outcome.recorded),
        ("ApiCallsCorrected", outcome.replaced),
        ("ApiCallsNotLogged", outcome.uncovered),
        ("ApiCallsTooOld", outcome.too_old),
        ("SessionsLinkedLate", outcome.linked),
        ("InputRejected", outcome.rejected),
    ):
        count(metric, value)
    for change in outcome.changes:
        count(METRICS[change.change])
        logger.info(
            change.change.value,
            event_name=change.event_name,
            account=change.account_id,
            changed_in=change.region,
            resource=change.resource,
            event_id=change.event_id,
            made_at=change.made_at.isoformat(),
        )
        directory_tasks.entries(changed_entries(change), changed_at=change.made_at, event=change.event_name)


def changed_entries(change: ObservedChange) -> list[str]:
    """The directory's entries that a change is about. A unit of an organization is a part of the name of any account in it."""
    if change.event_name == "UpdateOrganizationalUnit":
        return [history.id for history in directory.all_current((ACCOUNT,))]
    identity = identity_of(change.resource)
    return [identity.id] if identity and identity.kind in CHANGES_OF_ENTRIES.get(change.change, ()) else []


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_together(event, record_messages, quarantine, redelivery)
