"""The recorded messages of the Slack receiver as a page that looks like a Slack channel, and as a picture of it.

Promises to show the JSON that was sent and nothing else: a block that it cannot show is an error, text from outside is only
text, and the page loads nothing. The picture needs Chromium.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from local import demo, state
from local.pipeline import COST_REPORT_PREFIX, COST_REPORTS
from local.slack_receiver import SlackReceiver
from truth import company, cost_report

CHANNEL = "bedrock-costs"
SENDER = "Bedrock costs"
# In CSS pixels: a phone shows a picture of this width with letters that can still be read.
WIDTH = 580
# Pixels of the picture for each of CSS.
SCALE = 1.4
HEIGHT_MAX = 20_000
CHROMIUM_SECONDS = 60
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

Node = dict[str, Any]

_CONTROL = re.compile(r"<([^<>]*)>")
_MARKUP = (
    (re.compile(r"(?<!\w)\*(?=\S)(.+?)(?<=\S)\*(?!\w)"), "b"),
    (re.compile(r"(?<!\w)_(?=\S)(.+?)(?<=\S)_(?!\w)"), "i"),
    (re.compile(r"(?<!\w)~(?=\S)(.+?)(?<=\S)~(?!\w)"), "s"),
    (re.compile(r"`([^`]+)`"), "code"),
)

STYLE = """
* { box-sizing: border-box; margin: 0; }
body { background: #fff; color: #1d1c1d; font: 15px/1.47 Lato, "Helvetica Neue", Arial, sans-serif; }
.channel { padding: 13px 20px; border-bottom: 1px solid #e3e3e4; font-weight: 900; font-size: 18px; }
.channel .hash { color: #616061; font-weight: 400; margin-right: 3px; }
.day { position: relative; margin: 14px 0 4px; text-align: center; font-size: 13px; font-weight: 700; }
.day::before { content: ""; position: absolute; left: 0; right: 0; top: 50%; border-top: 1px solid #e3e3e4; }
.day span { position: relative; background: #fff; border: 1px solid #d6d6d7; border-radius: 24px; padding: 4px 14px; }
.message { display: flex; gap: 10px; padding: 10px 20px 12px; }
.avatar { flex: none; width: 36px; height: 36px; border-radius: 8px; background: #0b5c4a; margin-top: 2px; }
.avatar svg { display: block; }
.content { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.sender b { font-weight: 900; }
.sender .app { background: #e8e8e8; color: #616061; border-radius: 2px; font-size: 10px; font-weight: 700; padding: 1px 3px;
  margin: 0 4px 0 5px; vertical-align: 2px; }
.sender time { color: #616061; font-size: 12px; }
h2 { font-size: 18px; line-height: 1.33; font-weight: 900; margin: 6px 0 4px; }
.section { margin-bottom: 8px; }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; margin-bottom: 8px; }
.context { color: #616061; font-size: 13px; line-height: 1.4; }
.context span + span::before { content: "\\2002"; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin: 2px 0 10px; }
.button { border: 1px solid #c9c9ca; border-radius: 8px; padding: 4px 12px; font-weight: 700; font-size: 15px; }
.button.primary { background: #007a5a; border-color: #007a5a; color: #fff; }
.button.menu::after { content: " ⌄"; color: #616061; }
.chart { border: 1px solid #e3e3e4; border-radius: 8px; padding: 10px 12px 6px; margin: 0 0 10px; }
.chart figcaption { font-weight: 700; font-size: 13px; margin-bottom: 4px; }
.chart svg { display: block; width: 100%; }
.legend { color: #616061; font-size: 12px; }
.legend i { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 8px; }
.edited, .only { color: #616061; font-size: 12px; }
.reply { border-left: 3px solid #e3e3e4; margin-left: 30px; }
b { font-weight: 700; }
code { font: 12px/1.5 Menlo, Consolas, monospace; color: #e01e5a; background: #f7f7f8; border: 1px solid #e3e3e4;
  border-radius: 3px; padding: 1px 3px; }
a { color: #1264a3; text-decoration: none; }
"""

AVATAR = (
    '<svg viewBox="0 0 36 36" width="36" height="36"><g fill="#fff">'
    '<rect x="9" y="19" width="4" height="8"/><rect x="16" y="14" width="4" height="13"/>'
    '<rect x="23" y="9" width="4" height="18"/></g></svg>'
)


class PictureError(Exception):
    """The messages cannot be shown, or no browser can draw them."""


# Slack's text as HTML.


def formatted(mrkdwn: str) -> str:
    """Slack's mrkdwn as HTML. Slack's own entities are decoded first, so that nothing is escaped twice."""
    parts: list[str] = []
    end = 0
    for match in _CONTROL.finditer(mrkdwn):
        parts += [_marked_up(mrkdwn[end : match.start()]), _control(match[1])]
        end = match.end()
    return "".join([*parts, _marked_up(mrkdwn[end:])]).replace("\n", "<br>")


def _marked_up(text: str) -> str:
    shown = html.escape(html.unescape(text), quote=False)
    for pattern, tag in _MARKUP:
        shown = pattern.sub(rf"<{tag}>\1</{tag}>", shown)
    return shown


def _control(content: str) -> str:
    """`<https://…|label>` as a link that leads nowhere, since a picture cannot be followed; `<!here>` as its name."""
    target, _, label = content.partition("|")
    shown = label or ("@owners" if target.startswith("!subteam^") else target.removeprefix("!"))
    return f"<a>{html.escape(html.unescape(shown), quote=False)}</a>"


def _text(node: Node) -> str:
    if node["type"] == "mrkdwn":
        return formatted(node["text"])
    return html.escape(node["text"], quote=False).replace("\n", "<br>")


def _header(block: Node) -> str:
    return f"<h2>{_text(block['text'])}</h2>"


def _section(block: Node) -> str:
    shown = f'<div class="section">{_text(block["text"])}</div>' if "text" in block else ""
    fields = "".join(f"<div>{_text(field)}</div>" for field in block.get("fields", ()))
    return shown + (f'<div class="fields">{fields}</div>' if fields else "")


def _context(block: Node) -> str:
    elements = " ".join(f"<span>{_text(element)}</span>" for element in block["elements"])
    return f'<div class="context">{elements}</div>'


def _actions(block: Node) -> str:
    return f'<div class="actions">{"".join(map(_element, block["elements"]))}</div>'


def _element(node: Node) -> str:
    if node["type"] == "static_select":
        return f'<span class="button menu">{_text(node["placeholder"])}</span>'
    style = " primary" if node.get("style") == "primary" else ""
    return f'<span class="button{style}">{_text(node["text"])}</span>'


COLOURS = ("#0b5c4a", "#c0392b", "#616061")
CHART_WIDTH, CHART_HEIGHT, CHART_FOOT = 440, 110, 16


def _chart(block: Node) -> str:
    """Slack's line chart: every series on one scale from zero."""
    drawn = block["chart"]
    top = max((point["value"] for series in drawn["series"] for point in series["data"]), default=0) or 1
    labels = drawn["axis_config"]["categories"]
    step = CHART_WIDTH / max(len(labels) - 1, 1)

    def y(value: float) -> float:
        return CHART_HEIGHT - 6 - value / top * (CHART_HEIGHT - 16)

    lines = []
    for series, colour in zip(drawn["series"], COLOURS, strict=False):
        points = " ".join(f"{i * step:.1f},{y(point['value']):.1f}" for i, point in enumerate(series["data"]))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    foot = CHART_HEIGHT + CHART_FOOT - 4
    marks = f'<text x="0" y="{foot}">{html.escape(labels[0])}</text>'
    marks += f'<text x="{CHART_WIDTH}" y="{foot}" text-anchor="end">{html.escape(labels[-1])}</text>'
    title = f"{block['title']} ({drawn['axis_config']['y_label']})"
    legend = "".join(
        f'<i style="background: {colour}"></i>{html.escape(series["name"])}'
        for series, colour in zip(drawn["series"], COLOURS, strict=False)
    )
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="-2 0 {CHART_WIDTH + 4} {CHART_HEIGHT + CHART_FOOT}" font-size="11" fill="#616061">'
        f"{''.join(lines)}{marks}</svg>"
        f'<div class="legend">{legend}</div></figure>'
    )


RENDERERS: dict[str, Callable[[Node], str]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "actions": _actions,
    "data_visualization": _chart,
}


def _block(block: Node) -> str:
    renderer = RENDERERS.get(block["type"])
    if renderer is None:
        raise PictureError(f"a block of type {block['type']!r} cannot be shown: add it to RENDERERS")
    return renderer(block)


def _message(post: Node) -> str:
    payload = post["payload"]
    at = datetime.fromisoformat(post["at"])
    body = "".join(map(_block, payload.get("blocks") or ())) or f"<div>{formatted(payload['text'])}</div>"
    # As Slack says it of answers to commands.
    only = '<div class="only">Only visible to you</div>' if payload.get("response_type") == "ephemeral" else ""
    is_reply = " reply" if payload.get("thread_ts") else ""
    edited = ' <span class="edited">(edited)</span>' if post.get("method") == "chat.update" else ""
    return (
        f'<div class="message{is_reply}"><div class="avatar">{AVATAR}</div><div class="content">'
        f'<div class="sender"><b>{SENDER}</b><span class="app">APP</span> <time>{at:%H:%M}</time>{edited}</div>'
        f"{only}{body}</div></div>"
    )


def chosen(posts: Iterable[Node], numbers: Sequence[int] | None = None) -> list[Node]:
    """The delivered posts, or those of them that are numbered."""
    delivered = [post for post in posts if post["delivered"]]
    wrong = [n for n in numbers or () if not 1 <= n <= len(delivered)]
    if wrong or not delivered:
        what = f"there is no message {wrong[0]}" if wrong else "there is nothing to show"
        raise PictureError(f"{what}: {len(delivered)} were delivered")
    return [delivered[n - 1] for n in numbers] if numbers else delivered


def page(posts: Iterable[Node]) -> str:
    """The channel as a reader sees it: the posts in order, under the day they came on."""
    day = ""
    shown: list[str] = []
    for post in posts:
        at = datetime.fromisoformat(post["at"])
        if (today := f"{at:%A}, {at.day} {at:%B}") != day:
            day = today
            shown.append(f'<div class="day"><span>{day}</span></div>')
        shown.append(_message(post))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>#{CHANNEL}</title><style>{STYLE}</style></head>\n'
        f'<body style="width: {WIDTH}px"><div class="channel"><span class="hash">#</span>{CHANNEL}</div>\n'
        + "\n".join(shown)
        + "\n</body></html>\n"
    )


# The page as a picture.


def draw(content: str, picture: Path) -> None:
    """The whole page as a PNG, in its own height."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = directory / "page.html"
        source.write_text(content)
        # Chromium cuts a picture to its window, so the height is asked for first, by a copy of the page that tells it.
        measured = directory / "measured.html"
        tell = "<script>document.body.dataset.height = Math.ceil(document.body.getBoundingClientRect().height)</script>"
        measured.write_text(content.replace("</body>", f"{tell}</body>"))
        told = re.search(r'data-height="(\d+)"', _chromium(directory, HEIGHT_MAX, "--dump-dom", measured.as_uri()))
        if told is None:
            raise PictureError("Chromium did not tell the height of the page")
        picture.unlink(missing_ok=True)
        _chromium(directory, int(told[1]) + 8, f"--screenshot={picture.resolve()}", source.as_uri())
    if not picture.is_file():
        raise PictureError(f"Chromium did not write {picture}")


def _chromium(directory: Path, height: int, *arguments: str) -> str:
    browser = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if browser is None:
        raise PictureError(f"none of {', '.join(CHROMIUM_NAMES)} is on the PATH: install Chromium, or write --html alone")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-lcd-text", "--hide-scrollbars",
        f"--user-data-dir={directory / 'profile'}", f"--window-size={WIDTH},{height}",
        f"--force-device-scale-factor={SCALE}", *arguments,
    ]  # fmt: skip
    try:
        ended = subprocess.run(  # noqa: S603  a browser on our own page
            command, capture_output=True, text=True, check=False, timeout=CHROMIUM_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise PictureError(f"{browser} did not end within {CHROMIUM_SECONDS} s") from error
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise PictureError(f"{browser} ended with {ended.returncode}: {reason}")
    return ended.stdout


# The messages.


def record_demo(record: Path) -> None:
    """Run the demo with a receiver that records what it gets."""
    month = company.build(demo.MONTH, demo.SEED, demo.REQUESTS)
    deliveries = cost_report.deliveries(month, bucket=COST_REPORTS, prefix=COST_REPORT_PREFIX, export=demo.EXPORT)
    with SlackReceiver(record=record) as receiver:
        running = demo.start(receiver, keep=False)
        try:
            demo.demonstrate(running, month, deliveries[-1], receiver, replay=False)
        finally:
            state.stop()


def read_posts(record: Path) -> list[Node]:
    """The recorded posts, one a line."""
    return [json.loads(line) for line in record.read_text().splitlines()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.slack_picture", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", type=Path, help="posts recorded by the Slack receiver, one a line")
    parser.add_argument("--demo", action="store_true", help="run the demo first, and record what it sends")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="show these of the delivered messages, counted from 1")
    parser.add_argument("--html", type=Path, help="where the page goes")
    parser.add_argument("--png", type=Path, help="where the picture goes")
    options = parser.parse_args(arguments)
    try:
        if options.demo:
            options.record.unlink(missing_ok=True)
            record_demo(options.record)
        content = page(chosen(read_posts(options.record), options.only))
        if options.html:
            options.html.write_text(content)
        if options.png:
            draw(content, options.png)
    except (PictureError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
