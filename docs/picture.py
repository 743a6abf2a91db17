#!/usr/bin/env python3
"""Writes the README's picture, docs/echo-phoenix.svg, to stdout: python3 docs/picture.py > docs/echo-phoenix.svg

Everything is drawn from the tables below; the same text at every run. Colours follow the reader's light or dark mode.
"""

from html import escape

TOP, WIDTH, HEIGHT = 26, 924, 468

# name: (x, y, width, height, kind, title, lines below it)
BOXES = {
    "rest": (32, 66, 172, 58, "door", "REST", ["/control, /kill, /revive"]),
    "file": (32, 142, 172, 58, "door", "manifest", ["EchoThrottles in a file"]),
    "kubectl": (32, 218, 172, 58, "door", "kubectl", ["throttles and overrides"]),
    "declared": (252, 122, 180, 98, "core", "declared", ["a level, 0 to 1; holds,", "by whom and why; the", "most restrictive counts"]),
    "loop": (480, 122, 180, 98, "core", "loop", ["writes what it will do,", "does it, reads it back,", "corrects, records drift"]),
    "gate": (716, 154, 180, 66, "bite", "gate", ["a verdict a request"]),
    "scale": (716, 66, 180, 58, "bite", "workloads, sites", ["replicas; another Echo"]),
    "proxy": (716, 266, 180, 74, "out", "your proxy", ["nginx, Caddy, Traefik,", "Envoy, or /v1/decide"]),
    "app": (716, 388, 180, 58, "out", "your app", ["sees what was admitted"]),
    "latch": (480, 362, 180, 98, "kill", "latch", ["1  the next verdict denies", "2  it outlives a crash", "3  it is on record"]),
    "journal": (252, 388, 180, 58, "kill", "journal", ["preallocated, synced"]),
    "ledger": (252, 282, 180, 62, "core", "ledger", ["append-only, hash-chained"]),
    "stripe": (32, 294, 172, 58, "door", "Stripe", ["signed events"]),
    "mirror": (32, 388, 172, 58, "out", "mirror, metrics", ["Airtable, Prometheus"]),
}

# kind of line, points, label, place of the label
LINES = [
    ("flow", [(204, 95), (228, 95), (228, 150), (252, 150)], None, None),
    ("flow", [(204, 171), (252, 171)], None, None),
    ("flow", [(204, 247), (228, 247), (228, 192), (252, 192)], None, None),
    ("flow", [(432, 171), (480, 171)], None, None),
    ("flow", [(660, 150), (688, 150), (688, 95), (716, 95)], None, None),
    ("flow", [(660, 178), (716, 178)], None, None),
    ("flow", [(570, 220), (570, 313), (432, 313)], "every step", (486, 305)),
    ("flow", [(204, 323), (252, 323)], None, None),
    ("flow", [(342, 344), (342, 366), (228, 366), (228, 417), (204, 417)], None, None),
    ("ask", [(806, 266), (806, 220)], "may it pass?", (814, 247)),
    ("flow", [(806, 340), (806, 388)], None, None),
    ("kill", [(32, 81), (14, 81), (14, 480), (570, 480), (570, 460)], "a kill, from any door", (246, 472)),
    ("kill", [(32, 157), (14, 157)], None, None),
    ("kill", [(32, 233), (14, 233)], None, None),
    ("kill", [(660, 411), (688, 411), (688, 202), (716, 202)], "1", (696, 326)),
    ("kill", [(480, 417), (432, 417)], "2", (452, 408)),
    ("kill", [(396, 388), (396, 344)], "3", (404, 371)),
]

HEADS = [(32, "DOORS"), (252, "ONE PATH"), (716, "WHAT BITES")]

STYLE = """
  text { font-family: -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .line { font-size: 12px; fill: #59636e }
  .head { font-size: 11px; font-weight: 600; letter-spacing: 1.2px; fill: #59636e }
  .label { font-size: 12px; fill: #59636e }
  .kill.label { fill: #cf222e; font-weight: 600 }
  rect { fill: #f6f8fa; stroke: #d1d9e0; stroke-width: 1.5 }
  rect.core { fill: #ddf4ff; stroke: #54aeff }
  rect.bite { fill: #dafbe1; stroke: #4ac26b }
  rect.kill { fill: #ffebe9; stroke: #ff8182 }
  path { fill: none; stroke: #818b98; stroke-width: 1.8 }
  path.kill { stroke: #cf222e; stroke-width: 2.4 }
  path.ask { stroke-dasharray: 4 3 }
  .tip { fill: #818b98 } .tip.kill { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .line, .head, .label { fill: #9198a1 }
    .kill.label { fill: #ff7b72 }
    rect { fill: #151b23; stroke: #3d444d }
    rect.core { fill: #0c2d4d; stroke: #1f6feb }
    rect.bite { fill: #0f2d1a; stroke: #238636 }
    rect.kill { fill: #3c1414; stroke: #da3633 }
    path { stroke: #9198a1 } path.kill { stroke: #ff7b72 }
    .tip { fill: #9198a1 } .tip.kill { fill: #ff7b72 }
  }
"""

ABOUT = (
    "Doors (REST, a manifest, kubectl) declare a level and holds. The loop takes them to the gate, which proxies ask, and to "
    "workloads, and writes every step into the ledger. A kill from any door goes through the latch: it shuts the gate in "
    "memory first, then the journal makes it durable, then the ledger has it. Stripe's events are stored in the ledger. The "
    "ledger is mirrored to Airtable and told as metrics."
)


def box(x, y, width, height, kind, title, lines):
    yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
    middle = x + width / 2
    top = y + (height - 17 * len(lines)) / 2 + 4
    yield f'<text class="title" x="{middle:g}" y="{top:g}" text-anchor="middle">{escape(title)}</text>'
    for number, line in enumerate(lines, start=1):
        yield f'<text class="line" x="{middle:g}" y="{top + 3 + 16 * number:g}" text-anchor="middle">{escape(line)}</text>'


def tip(kind, before, end):
    """An arrow's head; markers would not take the colour of dark mode everywhere."""
    (x0, y0), (x, y) = before, end
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back, side = 9, 5
    one = (x - back * dx + side * dy, y - back * dy + side * dx)
    two = (x - back * dx - side * dy, y - back * dy - side * dx)
    return f'<polygon class="tip {kind}" points="{x},{y} {one[0]},{one[1]} {two[0]},{two[1]}"/>'


def line(kind, points, label, place):
    *way, last = points
    (x0, y0), (x, y) = way[-1], last
    joins = kind == "kill" and x == 14  # runs into another line, not into a box
    # Else the line ends inside its head, so that the head stays pointed.
    stop = last if joins else (x - 6 * ((x > x0) - (x < x0)), y - 6 * ((y > y0) - (y < y0)))
    path = "M" + " L".join(f"{a},{b}" for a, b in [*way, stop])
    yield f'<path class="{kind}" d="{path}"/>'
    if not joins:
        yield tip(kind, way[-1], last)
    if label:
        yield f'<text class="label {kind}" x="{place[0]}" y="{place[1]}">{escape(label)}</text>'


def main():
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {TOP} {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<!-- Generated by docs/picture.py; do not edit. -->",
        f"<title>How Echo Phoenix works</title><desc>{escape(ABOUT)}</desc>",
        f"<style>{STYLE}</style>",
    ]
    for each in LINES:
        out += line(*each)
    for each in BOXES.values():
        out += box(*each)
    out += [f'<text class="head" x="{x}" y="48">{text}</text>' for x, text in HEADS]
    print("\n".join([*out, "</svg>"]))


if __name__ == "__main__":
    main()
