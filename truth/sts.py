"""Sessions: the STS records that issue temporary credentials, and the identities that use them.

A session lasts eight hours at most; its access key joins the STS record to the calls. `sessionToken` is what AWS
writes too, here a marked fake, so that a test can prove nobody keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from truth.company import Month
from truth.objects import canary_of, iso_seconds, key_id_of, uuid_of
from truth.organisation import GATEWAY, PLATFORM, Principal
from truth.requests import Request

SESSION_HOURS = 8

Record = dict[str, Any]


Session = tuple[str, datetime]


def session_of(request: Request) -> Session:
    """The session that `request` is made in: its principal and the eight hours it may last."""
    return request.principal.arn, _slot(request.time)


def is_announced(request: Request) -> bool:
    """Whether CloudTrail shows the STS record of the request's session."""
    return request.principal.sts != "" or request.principal.kind == "lambda_role"


def access_key_of(month: Month, request: Request) -> str:
    """`userIdentity.accessKeyId`: long-term for users, one per session for everybody else."""
    principal = request.principal
    if principal.kind in ("iam_user", "api_key_user"):
        return key_id_of("AKIA", month.seed, principal.arn)
    return key_id_of("ASIA", month.seed, month.month, principal.arn, _slot(request.time))


def user_identity(month: Month, request: Request, created_at: datetime) -> Record:
    """`userIdentity` of a model call made in a session that began at `created_at`."""
    principal = request.principal
    account_id = principal.account.account_id
    common = {"arn": principal.arn, "accountId": account_id, "accessKeyId": access_key_of(month, request)}
    if principal.kind in ("iam_user", "api_key_user"):
        return {"type": "IAMUser", "principalId": principal.unique_id, **common, "userName": principal.name}
    context: Record = {
        "sessionIssuer": _issuer(principal),
        "webIdFederationData": {},
        "attributes": {"creationDate": iso_seconds(created_at), "mfaAuthenticated": "false"},
    }
    if principal.kind == "federated_user":
        return {
            "type": "FederatedUser",
            "principalId": f"{account_id}:{principal.name}",
            **common,
            "sessionContext": context,
        }
    if principal.kind == "ec2_role":
        context["ec2RoleDelivery"] = "2.0"
    identity: Record = {
        "type": "AssumedRole",
        "principalId": f"{principal.unique_id}:{principal.session}",
        **common,
        "sessionContext": context,
    }
    if principal.kind == "lambda_role":
        function = f"arn:aws:lambda:{principal.region}:{account_id}:function:{principal.name}"
        identity["inScopeOf"] = {
            "issuerType": "AWS::Lambda::Function",
            "credentialsIssuedTo": function,
            "credentialsIssuedToVersion": f"{function}:$LATEST",
        }
    if principal.kind == "sso_user":
        identity["onBehalfOf"] = {
            "userId": uuid_of("identity store", principal.session),
            "identityStoreArn": f"arn:aws:identitystore::{PLATFORM.account_id}:identitystore/d-9067c3f2ab",
        }
    return identity


def sts_records(month: Month, request: Request, issued_at: datetime) -> Iterator[Record]:
    """The STS records of the session that `request` uses; two for a role assumed from another account."""
    principal = request.principal
    record = _record(month, request, issued_at)
    if principal.kind == "gateway_user" and principal.account is not PLATFORM:
        shared = {"sharedEventID": uuid_of("shared", record["eventID"])}
        yield (
            record
            | shared
            | {
                "userIdentity": {
                    "type": "AWSAccount",
                    "principalId": f"{GATEWAY.unique_id}:{GATEWAY.session}",
                    "accountId": PLATFORM.account_id,
                }
            }
        )
        yield (
            record
            | shared
            | {
                "eventID": uuid_of("caller copy", record["eventID"]),
                "recipientAccountId": PLATFORM.account_id,
            }
        )
        return
    yield record


def _record(month: Month, request: Request, issued_at: datetime) -> Record:
    principal = request.principal
    account_id = principal.account.account_id
    name = principal.sts or "AssumeRole"
    # GetFederationToken is called on the global endpoint, which logs in us-east-1.
    region = "us-east-1" if name == "GetFederationToken" else principal.region
    host = "sts.amazonaws.com" if name == "GetFederationToken" else f"sts.{region}.amazonaws.com"
    record: Record = {
        "eventVersion": "1.08",
        "userIdentity": _caller(month, principal, name),
        "eventTime": iso_seconds(issued_at),
        "eventSource": "sts.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "lambda.amazonaws.com" if principal.kind == "lambda_role" else "198.51.100.23",
        "userAgent": "aws-sdk-go-v2/1.32.3 os/linux lang/go#1.24.1 api/sts#1.26.2",
        "requestParameters": _parameters(principal, name),
        "responseElements": _response(month, request, name),
        "requestID": uuid_of(month.seed, month.month, "sts request", principal.arn, _slot(request.time)),
        "eventID": uuid_of(month.seed, month.month, "sts event", principal.arn, _slot(request.time)),
        "readOnly": name != "GetFederationToken",
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account_id,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": host,
        },
    }
    if name != "GetFederationToken":
        record["resources"] = [{"accountId": account_id, "type": "AWS::IAM::Role", "ARN": principal.issuer_arn}]
    return record


def _slot(time: datetime) -> datetime:
    return time.replace(hour=time.hour // SESSION_HOURS * SESSION_HOURS, minute=0, second=0)


def _issuer(principal: Principal) -> Record:
    account_id = principal.account.account_id
    if principal.kind == "federated_user":
        return {
            "type": "IAMUser",
            "principalId": key_id_of("AIDA", account_id, "federation-broker"),
            "arn": principal.issuer_arn,
            "accountId": account_id,
            "userName": "federation-broker",
        }
    return {
        "type": "Role",
        "principalId": principal.unique_id,
        "arn": principal.issuer_arn,
        "accountId": account_id,
        "userName": principal.name,
    }


def _caller(month: Month, principal: Principal, name: str) -> Record:
    account_id = principal.account.account_id
    if principal.kind == "lambda_role":
        return {"type": "AWSService", "invokedBy": "lambda.amazonaws.com"}
    if name == "AssumeRoleWithSAML":
        return {
            "type": "SAMLUser",
            "principalId": f"bdGOnTesti4+Meridian:{principal.session}",
            "userName": principal.session,
            "identityProvider": "bdGOnTesti4+Meridian",
        }
    if name == "AssumeRoleWithWebIdentity":
        return {
            "type": "WebIdentityUser",
            "principalId": f"arn:aws:iam::{account_id}:oidc-provider/oidc.meridian.example:{principal.session}",
            "userName": principal.session,
            "identityProvider": f"arn:aws:iam::{account_id}:oidc-provider/oidc.meridian.example",
        }
    if name == "GetFederationToken":
        return _issuer(principal) | {"accessKeyId": key_id_of("AKIA", account_id, "federation-broker")}
    return {
        "type": "AssumedRole",
        "principalId": f"{GATEWAY.unique_id}:{GATEWAY.session}",
        "arn": GATEWAY.arn,
        "accountId": PLATFORM.account_id,
        "accessKeyId": key_id_of("ASIA", "gateway", PLATFORM.account_id),
        "sessionContext": {
            "sessionIssuer": _issuer(GATEWAY),
            "attributes": {"creationDate": iso_seconds(month.start), "mfaAuthenticated": "false"},
        },
    }


def _parameters(principal: Principal, name: str) -> Record:
    tags = {principal.tag_key: principal.tagged_as} if principal.has_session_tag else {}
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    account_id = principal.account.account_id
    if name == "GetFederationToken":
        return {"name": principal.name, "durationSeconds": SESSION_HOURS * 3600, "tags": listed}
    parameters: Record = {
        "roleArn": principal.issuer_arn,
        "roleSessionName": principal.session,
        "durationSeconds": SESSION_HOURS * 3600,
    }
    if name == "AssumeRole":
        return parameters | ({"tags": listed, "transitiveTagKeys": list(tags)} if tags else {})
    if name == "AssumeRoleWithSAML":
        parameters["principalArn"] = f"arn:aws:iam::{account_id}:saml-provider/AWSSSO_meridian"
        parameters["sAMLAssertionID"] = "_" + uuid_of("assertion", principal.session)
    else:
        parameters["providerId"] = f"arn:aws:iam::{account_id}:oidc-provider/oidc.meridian.example"
    return parameters | ({"principalTags": tags, "transitiveTagKeys": list(tags)} if tags else {})


def _response(month: Month, request: Request, name: str) -> Record:
    principal = request.principal
    expires_at = _slot(request.time) + timedelta(hours=SESSION_HOURS)
    credentials = {
        "accessKeyId": access_key_of(month, request),
        "expiration": _american(expires_at),
        "sessionToken": canary_of("session token", month.seed, principal.arn, _slot(request.time)),
    }
    if name == "GetFederationToken":
        federated_user = {
            "federatedUserId": f"{principal.account.account_id}:{principal.name}",
            "arn": principal.arn,
        }
        return {"credentials": credentials, "federatedUser": federated_user, "packedPolicySize": 4}
    role_user = {"assumedRoleId": f"{principal.unique_id}:{principal.session}", "arn": principal.arn}
    response: Record = {"credentials": credentials, "assumedRoleUser": role_user}
    if name == "AssumeRoleWithSAML":
        response |= {"subjectType": "transient", "subject": principal.session}
        response["audience"] = "https://signin.aws.amazon.com/saml"
    if name == "AssumeRoleWithWebIdentity":
        response["subjectFromWebIdentityToken"] = principal.session
    return response


def _american(time: datetime) -> str:
    """`Oct 2, 2019, 11:12:29 PM`, as STS records write an expiration."""
    hour = time.hour % 12 or 12
    month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[time.month - 1]
    return f"{month} {time.day}, {time.year}, {hour}:{time:%M:%S} {'AM' if time.hour < 12 else 'PM'}"
