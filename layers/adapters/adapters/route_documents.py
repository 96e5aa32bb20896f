"""Routes and Slack users in the policy document: where alerts are told, when it is quiet, who may see and silence what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from adapters.validation import EVERYTHING, SOME_VALUES, Location, Problem
from attribution.routes import DEFAULT_ROUTE, DigestEvery, DigestSchedule, QuietHours, Route, Viewer

RouteName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Values = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1)]
SlackUser = Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,20}$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Zoned(_Document):
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("write a time zone of the IANA database, such as Europe/Berlin") from None
        return name


class QuietHoursDocument(_Zoned):
    """Local times between which nothing is told; may go over midnight."""

    begins: ClockTime
    ends: ClockTime
    critical_passes: bool = True

    @model_validator(mode="after")
    def _is_a_span(self) -> QuietHoursDocument:
        if self.begins == self.ends:
            raise ValueError("quiet hours that begin when they end are none, or all day: change one of the times")
        return self


class DigestDocument(_Zoned):
    """A digest of spend for each of the route's values of a dimension."""

    every: Literal["day", "week"] = "day"
    dimension: str = "team"
    at: ClockTime = "09:00"


class RouteDocument(_Document):
    """One channel."""

    name: RouteName
    match: dict[str, Values] = {}
    alarms: bool = False
    secret: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9/_+=.@-]*$")] = ""
    channel: Annotated[str, Field(pattern=r"^([CGD][A-Z0-9]{2,20})?$")] = ""
    quiet_hours: QuietHoursDocument | None = None
    storm_limit: Annotated[int, Field(ge=1, le=50)] = 5
    charts: bool = True
    mention: Annotated[str, Field(pattern=r"^(<!subteam\^S[A-Z0-9]{2,20}>|<@[UW][A-Z0-9]{2,20}>)?$")] = ""
    digests: tuple[DigestDocument, ...] = ()

    @model_validator(mode="after")
    def _digests_have_values(self) -> RouteDocument:
        if self.digests and self.takes_alarms_alone:
            raise ValueError(
                "a route of alarms alone has nothing to put into a digest: give it a match, or leave out its digests"
            )
        for digest in self.digests:
            if self.match and digest.dimension not in self.match:
                raise ValueError(f"a digest by {digest.dimension!r} needs the route to match values of it: {list(self.match)}")
        return self

    @property
    def takes_alarms_alone(self) -> bool:
        """Whether it tells the stack's own alarms and nothing else."""
        return self.alarms and not self.match

    def route(self) -> Route:
        """The route that the document describes."""
        quiet = self.quiet_hours
        return Route(
            name=self.name,
            secret=self.secret,
            channel=self.channel,
            matches=tuple((dimension, value) for dimension, values in self.match.items() for value in values),
            tells_alarms=self.alarms,
            quiet=QuietHours(
                time.fromisoformat(quiet.begins),
                time.fromisoformat(quiet.ends),
                ZoneInfo(quiet.time_zone),
                quiet.critical_passes,
            )
            if quiet
            else None,
            storm_limit=self.storm_limit,
            has_charts=self.charts,
            mention=self.mention,
            digests=tuple(
                DigestSchedule(DigestEvery(d.every), d.dimension, time.fromisoformat(d.at), ZoneInfo(d.time_zone))
                for d in self.digests
            ),
        )


class SlackUsersDocument(_Document):
    """Slack users who may see the same: everything, or some values of some dimensions."""

    users: Annotated[tuple[SlackUser, ...], Field(min_length=1)]
    sees: Annotated[
        Annotated[Literal["all"], Tag(EVERYTHING)] | Annotated[dict[str, Values], Tag(SOME_VALUES)],
        Discriminator(lambda value: EVERYTHING if value == "all" else SOME_VALUES),
    ]

    def viewer(self) -> Viewer:
        """What these users may see."""
        if self.sees == "all":
            return Viewer(self.users, sees_all=True)
        return Viewer(self.users, tuple((dimension, value) for dimension, values in self.sees.items() for value in values))


def problems_of_routes(routes: Sequence[RouteDocument], named: Sequence[tuple[Location, str, str]]) -> Iterator[Problem]:
    """What is wrong with routes together, and with what names one: its place, what it is, and the route's name."""
    names = [route.name for route in routes]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield ("routes", number), f"route {name!r} is defined twice"
    for location, what, name in named:
        if name and name not in (*names, DEFAULT_ROUTE):
            yield location, f"{what}: there is no route {name!r}; choose from {sorted({*names, DEFAULT_ROUTE})}"
    telling = [number for number, route in enumerate(routes) if route.alarms]
    for number in telling[1:]:
        text = f"route {names[number]!r} never tells an alarm: {names[telling[0]]!r} before it tells all of them"
        yield ("routes", number, "alarms"), text
    unmatched = [number for number, route in enumerate(routes) if not route.match and not route.takes_alarms_alone]
    for number in unmatched[1:]:
        yield (
            ("routes", number),
            f"route {names[number]!r} is never used: {names[unmatched[0]]!r} before it takes everything that no route matches",
        )
