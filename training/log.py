"""A stage's log: rows of a CSV file, a printed line for each, and a plot of some columns as SVG.

Knows numbers and names; needs no plotting library.
"""

import csv
import io
from pathlib import Path
from xml.sax.saxutils import escape

from analysis.storage import write_whole

COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626")


class Log:
    """Appends to the file; the header is written where there is none yet."""

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self.path, self._fields = path, fields
        if not path.exists():
            self._write(fields)

    def rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def cut(self, step: int) -> None:
        """Forget what was done after `step`: it was not saved, and is done again."""
        rows = self.rows()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            text = io.StringIO(newline="")
            csv.writer(text).writerows([self._fields, *([row[name] for name in self._fields] for row in kept)])
            write_whole(self.path, text.getvalue().encode())

    def add(self, *values: object) -> None:
        self._write(values)
        print("  ".join(f"{field} {value}" for field, value in zip(self._fields, values, strict=True)), flush=True)

    def draw(self, title: str, x: str, columns: tuple[str, ...]) -> None:
        """Writes the plot beside the file."""
        rows = self.rows()
        lines = {name: [(float(r[x]), float(r[name])) for r in rows if r[name]] for name in columns}
        self.path.with_suffix(".svg").write_text(svg(title, x, lines), encoding="utf-8")

    def _write(self, values: tuple[object, ...]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)


def svg(title: str, x_name: str, lines: dict[str, list[tuple[float, float]]]) -> str:
    """A line plot from 0 (or the lowest value) to the highest, with the ends of both axes named."""
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(0.0, *(p[1] for p in points)), max(p[1] for p in points)

    def place(point: tuple[float, float]) -> str:
        x = 60 + 560 * (point[0] - left) / ((right - left) or 1)
        return f"{x:.1f},{260 - 210 * (point[1] - low) / ((high - low) or 1):.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 310" font-family="sans-serif" font-size="12">',
        f'<rect width="660" height="310" fill="#fff"/><text x="60" y="24" font-size="15">{escape(title)}</text>',
        '<path d="M60 50V260H620" fill="none" stroke="#888"/>',
        f'<text x="54" y="54" text-anchor="end">{high:.3g}</text>',
        f'<text x="54" y="264" text-anchor="end">{low:.3g}</text>',
        f'<text x="60" y="280">{left:,.0f}</text><text x="620" y="280" text-anchor="end">{right:,.0f} {x_name}</text>',
    ]
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{" ".join(map(place, line))}"/>')
        parts.append(f'<text x="{60 + 130 * i}" y="300" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
