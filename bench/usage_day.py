"""One usage day of any size: origin charges as a delivery says them, and the counters of ten times as many invocations.

Every amount is chosen by a hash of what it belongs to, so that equal arguments give equal days. Of a hundred callers 78 have a
role of their own, one is a gateway whose role serves forty tenants, eleven are billed without a name, ten are in no log; every
fifth was logged incompletely. Besides there are tax, credits and the like, and one account of two hundred is billed in another
currency.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from adapters import usage_counters
from adapters.codec import lines, origin_to_json
from adapters.dynamodb import to_wire
from adapters.usage_counters import counter_item
from attribution.charges import Costs, OriginCharge
from attribution.meters import Meter, Routing, Tier, TokenKind
from attribution.usage import Counters, Pairs, Usage, UsageKey

DAY = date(2026, 6, 10)
KINDS = (TokenKind.INPUT, TokenKind.OUTPUT, TokenKind.CACHE_READ, TokenKind.CACHE_WRITE)
TENANTS_OF_A_GATEWAY = 40
_MODELS = (
    "anthropic.claude-sonnet-4-5",
    "anthropic.claude-haiku-4-5",
    "amazon.nova-pro",
    "amazon.nova-lite",
    "meta.llama4-maverick",
)
_REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
_OPERATIONS = ("InvokeModelInference", "ConverseInference")
_OTHER_TYPES = ("Tax", "Credit", "EdpDiscount", "Refund", "Fee")
_CALLERS_OF_AN_ACCOUNT = 300
FIRST_ACCOUNT = "100000000000"
CATEGORY = "team"

_PRICES = {kind: Decimal(price) for kind, price in zip(KINDS, ("0.000003", "0.000015", "0.0000003", "0.00000375"), strict=True)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls one model, how it is billed, and which counters are behind that."""

    number: int

    def chance(self, what: str, of: int) -> int:
        """A number below `of`, the same whenever it is asked for."""
        return int.from_bytes(hashlib.blake2b(f"{self.number} {what}".encode(), digest_size=6).digest()) % of

    @property
    def account_id(self) -> str:
        return f"{int(FIRST_ACCOUNT) + self.number // _CALLERS_OF_AN_ACCOUNT * 7919:012d}"

    @property
    def currency(self) -> str:
        return "EUR" if self.number // _CALLERS_OF_AN_ACCOUNT % 200 == 199 else "USD"

    @property
    def region(self) -> str:
        return _REGIONS[self.chance("region", len(_REGIONS))]

    @property
    def model(self) -> str:
        return _MODELS[self.chance("model", len(_MODELS))]

    @property
    def principal(self) -> str:
        return f"arn:aws:sts::{self.account_id}:assumed-role/Service{self.number}/session"

    @property
    def tags(self) -> Pairs:
        """The tags of its role in the bill: two of three have a team."""
        team = self.chance("team", 300)
        return (("iamPrincipal/team", f"team-{team}"),) if team < 200 else ()

    @property
    def group(self) -> str:
        share = self.chance("group", 100)
        return "own" if share < 78 else "gateway" if share < 79 else "unnamed" if share < 90 else "unlogged"

    def usage(self) -> Iterator[Usage]:
        """Its counters: a gateway has one per tenant, others one per feature."""
        group = self.group
        count = {"own": 1 + self.chance("features", 3), "gateway": TENANTS_OF_A_GATEWAY, "unnamed": 1, "unlogged": 0}[group]
        for number in range(count):
            metadata = (
                (("team", f"tenant-{self.chance(f'tenant {number}', 5000)}"),)
                if group == "gateway"
                # Of several features one at most is called without saying so: two counters never have one key.
                else ((("feature", f"feature-{number}"),) if number or self.chance("says", 4) else ())
            )
            key = UsageKey(
                DAY, self.account_id, self.region, self.model, Routing.REGIONAL, Tier.STANDARD, self.principal, "", metadata
            )
            units = {kind: 50 + self.chance(f"units {number} {kind}", 200_000) for kind in KINDS}
            requests = 1 + self.chance(f"requests {number}", 49)
            yield Usage(key, Counters(requests=requests, units=units, estimated={k: n * _PRICES[k] for k, n in units.items()}))

    def charges(self) -> Iterator[OriginCharge]:
        """What is billed: its own lines, or one part of the line of everybody who is not named."""
        logged = list(self.usage())
        operations = _OPERATIONS[: 1 + (self.chance("operations", 4) == 0)]
        for kind in KINDS:
            units = sum(u.counters.units[kind] for u in logged) or 10_000 + self.chance(f"billed {kind}", 100_000)
            if self.chance("incomplete", 5) == 0:
                units += units // 7
            for number, operation in enumerate(operations):
                part = units // len(operations) + (units % len(operations) if number == 0 else 0)
                yield self._charge(Meter(self.model, kind), operation, part)

    def _charge(self, meter: Meter, operation: str, units: int) -> OriginCharge:
        list_cost = units * _PRICES[meter.token_kind]
        net = list_cost * Decimal("0.9137")
        is_named = self.group != "unnamed"
        return OriginCharge(
            usage_date=DAY,
            account_id=self.account_id,
            region=self.region,
            line_item_type="Usage",
            billing_entity="AWS",
            product_code="AmazonBedrock",
            usage_type=f"{self.region}-{self.model}-{meter.token_kind.value}-tokens",
            operation=operation,
            feature="inference",
            commitment="",
            meter=meter,
            iam_principal=self.principal if is_named else "",
            # Without a name, what is billed differs by what the bill knows besides: the resource.
            resource_id="" if is_named else f"arn:aws:bedrock:{self.region}::foundation-model/{self.model}-{self.number}",
            tags=self.tags if is_named else (),
            currency=self.currency,
            pricing_unit="1K tokens",
            quantity=Decimal(units) / 1000,
            units=Decimal(units),
            costs=Costs(list_cost, list_cost, net, list_cost, net),
            row_count=24,
        )

    def other(self) -> OriginCharge:
        """A charge that no usage is behind: tax, a credit and so on."""
        kind = _OTHER_TYPES[self.chance("other", len(_OTHER_TYPES))]
        amount = Decimal(self.chance("amount", 10**9)).scaleb(-7) * (-1 if kind in ("Credit", "EdpDiscount", "Refund") else 1)
        return OriginCharge(
            usage_date=DAY,
            account_id=self.account_id,
            region=self.region,
            line_item_type=kind,
            billing_entity="AWS",
            product_code="AmazonBedrock",
            usage_type=f"{kind}-{self.number}",
            operation="",
            feature="",
            commitment="",
            meter=Meter("", TokenKind.OTHER),
            iam_principal="",
            resource_id="",
            tags=(),
            currency=self.currency,
            pricing_unit="",
            quantity=Decimal(1),
            units=None,
            costs=Costs(amount, amount, amount, amount, amount),
            row_count=1,
        )


@dataclass(frozen=True, slots=True)
class UsageDay:
    """A day on disk: `charges` as the work bucket keeps them, `counters` as items of the ledger, one a line."""

    size: int
    directory: Path

    @property
    def charges(self) -> Path:
        return self.directory / "charges.ndjson.gz"

    @property
    def counters(self) -> Path:
        return self.directory / "counters.ndjson"


def callers(size: int) -> Iterator[tuple[Caller, list[OriginCharge]]]:
    """Callers with their charges, until there are `size` charges."""
    count = number = 0
    while count < size:
        caller = Caller(number)
        found = list(caller.charges())
        if number % 4 == 0:
            found.append(caller.other())
        yield caller, found[: size - count]
        count += len(found)
        number += 1


def generate(size: int, directory: Path) -> UsageDay:
    """Write a day of `size` origin charges, unless it is there."""
    source = hashlib.sha256(b"".join(Path(file).read_bytes() for file in (__file__, usage_counters.__file__))).hexdigest()[:8]
    day = UsageDay(size, directory / f"usage-day-{size}-{source}")
    if day.counters.is_file():
        return day
    day.directory.mkdir(parents=True, exist_ok=True)
    unfinished = day.directory / "unfinished"
    with gzip.open(day.charges, "wb", compresslevel=1) as charges, unfinished.open("w") as counters:
        for caller, found in callers(size):
            charges.write(lines(map(origin_to_json, found)))
            counters.writelines(f"{_wire(usage)}\n" for usage in caller.usage())
    unfinished.rename(day.counters)
    return day


def _wire(usage: Usage) -> str:
    return json.dumps(to_wire(counter_item(usage)), separators=(",", ":"))


def change_one_counter(day: UsageDay) -> Path:
    """The same counters, but for one that has counted another request; a file of its own."""
    changed = day.directory / "counters-changed.ndjson"
    with day.counters.open() as before, changed.open("w") as after:
        item = json.loads(next(before))
        item["requests"]["N"], item["u_input"]["N"] = (str(int(item[name]["N"]) + 1) for name in ("requests", "u_input"))
        after.write(json.dumps(item, separators=(",", ":")) + "\n")
        shutil.copyfileobj(before, after)
    return changed
