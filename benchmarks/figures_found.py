"""The figures of speed that a page's prose claims, however they are set: bold, in HTML, over two lines, or in words."""

import html
import re
from collections.abc import Iterator

NUMBER = r"\d[\d,]*(?:\.\d+)?"
WORD = (
    r"(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty|hundred|thousand|several|many"
    r"|dozens?|tens|hundreds|thousands)"
)
FASTER = r"(?:faster|slower|quicker|as fast|as slow|as long|as quick\w*|the speed|the time)"
MADE = r"(?:(?:images?|imgs?|samples?|photos?|pictures?|files?|frames?|batches|items|pixels|megapixels)\s*)?"
RATE = (
    rf"(?:{MADE}(?:/\s*s(?:ec|econd)?\b|(?:a|per|each|every) second\b)"
    r"|[kKMGT]i?B/s|-?fold\b|[µmun]s\b|(?:milli|micro|nano)seconds?\b)"
)
SPEED = re.compile(
    rf"{NUMBER}\s*[kM]?\s*{RATE}|{NUMBER}(?:x\b|\s*\u00d7(?!\s*\d))|{NUMBER}\s*x {FASTER}|{NUMBER} times\b"
    rf"|\b(?:twice|thrice|half|double) {FASTER}|\b{WORD}(?: times {FASTER}|[ -]?fold\b)|\borders? of magnitude",
    re.IGNORECASE,
)
SHARE = re.compile(rf"{NUMBER}\s*(?:%|percent\b)")
OF_SPEED = re.compile(r"fast|slow|speed|copy|memcpy|throughput", re.IGNORECASE)
OTHER = re.compile(  # times, sizes, and a table's cell that is a number, or one beside somebody
    rf"{NUMBER}\s*(?:s\b|sec\b|seconds?\b|minutes?\b|hours?\b|[kKMGT]i?B\b)"
    rf"|(?<=\|)\s*~*{NUMBER}\s*(?=\||(?:to|against|beside|over|on|than|vs)\b)"
)
IN_WORDS = re.compile(
    rf"\b{WORD}(?: of)? times\b|\b(?:twice|thrice|half|halves|doubles?|triples?)\b"
    r"|\b(?:third|quarter|fifth|sixth|seventh|eighth|ninth|tenth|hundredth)s? (?:of|the)\b"
    rf"|\bratios? (?:of|is|was|are) (?:about )?{NUMBER}|\bfactors? of (?:about )?(?:{NUMBER}|{WORD}\b)",
    re.IGNORECASE,
)
OWN_LINE = re.compile(r"\s*(?:[-*+] |\d+\. |\||#|```|$)")  # what goes on with no paragraph before it
CELL = re.compile(r"</?t[dh]\b[^<>]*>")
MARKUP = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>|[*`~]|(?<!\w)_+|_+(?!\w)|\]\([^()]*\)|\[", re.DOTALL)


def found(text: str, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """The lines of a text, from 1, with the figures that begin there, as they are written and as a reader sees them."""
    lines: dict[int, list[str]] = {}
    for seen in (text, plain(text)):
        for first, paragraph in paragraphs(seen):
            for at, figure in figures(paragraph.replace("\n", " "), strict):
                line = first + paragraph.count("\n", 0, at)
                if figure not in lines.setdefault(line, []):
                    lines[line].append(figure)
    yield from sorted(lines.items())


def figures(paragraph: str, strict: bool) -> Iterator[tuple[int, str]]:
    """The figures of speed in a paragraph; where `strict` every number with a unit, a table's bare numbers, and words
    for how much, too.
    """
    shares = [SHARE] if strict or OF_SPEED.search(paragraph) else []
    for pattern in (SPEED, *shares, *([OTHER, IN_WORDS] if strict else [])):
        yield from ((figure.start(), figure[0].strip()) for figure in pattern.finditer(paragraph))


def plain(text: str) -> str:
    """The text without its markup, on the same lines; a cell of HTML is one of Markdown."""
    bare = MARKUP.sub(lambda mark: "\n" * mark[0].count("\n"), CELL.sub("|", text))
    return html.unescape(bare).replace("\u00a0", " ")


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Each paragraph, item, heading or row of a table with the number of its first line; lines are without indents."""
    first, lines, table = 1, [], False
    for number, line in enumerate(text.split("\n"), 1):
        if lines and (OWN_LINE.match(line) or table):
            yield first, "\n".join(lines)
            first, lines = number, []
        lines.append(re.sub(r"^[\s>]+", "", line).rstrip())
        table = line.lstrip().startswith(("|", "#"))
    yield first, "\n".join(lines)
