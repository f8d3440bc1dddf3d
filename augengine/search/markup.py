"""Pieces of an HTML page, which escape what they are given; and numbers in words."""

from collections.abc import Sequence
from html import escape


def section(title: str, content: str) -> str:
    """A section of HTML under its heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def figure(content: str, caption: str) -> str:
    """HTML with a caption under it."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def table(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    """A table of rows of cells, some of them marked; a column whose head begins with # is one of numbers."""
    numbers = [' class="number"' if head.startswith("#") else "" for head in heads]
    top = "".join(f"<th{c}>{escape(head.removeprefix('#'))}</th>" for c, head in zip(numbers, heads, strict=True))
    marks = ' class="searched"'
    lines = (
        f"<tr{marks if marked else ''}>"
        + "".join(f"<td{c}>{escape(cell)}</td>" for c, cell in zip(numbers, cells, strict=True))
        + "</tr>"
        for cells, marked in rows
    )
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def count(number: int, noun: str, plural: str = "") -> str:
    """Such as "1 trial" or "4,000 trials"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Such as "4.2 s", "3 min 05 s" or "12 h 30 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02} min"
