"""The pages' figures of speed come from results files, and a page that shows another is found."""

import json
import re
import shutil

import pytest

from augengine.bench.method import System, row_of
from augengine.transforms import known_transforms
from benchmarks import figures
from benchmarks.figures_tables import TABLES, cases, curves, nearest, ratios, speed

ROOT = figures.ROOT


def rows_of(*measured):
    """The rows of (system, threads, images/s of each round)."""
    systems = [System(name, lambda: lambda: None, 1, threads) for name, threads, _ in measured]
    rates = {system.label: list(rounds) for system, (_, _, rounds) in zip(systems, measured, strict=True)}
    return [row_of(system, rates, systems) for system in systems]


@pytest.fixture
def report():
    rows = [
        *rows_of(
            ("augengine", 1, [4000.0, 4000.0, 4000.0]),
            ("augengine", 2, [6000.0, 6000.0, 6000.0]),
            ("torchvision v2", 1, [40.0, 41.0, 39.0]),
            ("torchvision v2, PIL", 1, [80.0, 80.0, 80.0]),
            ("DALI", 2, [7500.0, 7600.0, 7400.0]),
            ("memory copy", 1, [8000.0, 8000.0, 8000.0]),
            ("decode, Pillow", 2, [9000.0, 9000.0, 9000.0]),
        ),
        {"system": "Kornia", "threads": 1, "failed": "ValueError: a | b"},
    ]
    points = [[8, 100.0, 90.0, 110.0], [64, 1234.0, 1200.0, 1300.0]]
    series = [
        {"name": "augengine", "x": "batch", "y": "images/s", "points": points},
        {"name": "Kornia", "x": "batch", "y": "images/s", "points": points[1:]},
    ]
    return {
        "machine": {"date": "2026-01-02", "cpu": "A CPU", "cores": 2, "isa": "avx512", "load": 0.1}
        | {"commit": "abc1234", "images": "200 photos"},
        "settings": {"rounds": 5, "seconds": 0.3, "threads": 2},
        "cases": {
            "made-flip": {"task": "made", "about": "32x32: flip", "batch": 512, "rows": rows, "notes": ["K: no such"]},
            "made-size": {"task": "made", "about": "all sizes", "series": series, "notes": []},
        },
    }


@pytest.fixture
def repository(tmp_path, monkeypatch, report):
    """A README and a page with blocks, and the results that they name."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "a.json").write_text(json.dumps(report))
    block = "<!-- figures: {} from benchmarks/results/a.json -->\n<!-- end of figures -->\n"
    (tmp_path / "README.md").write_text("# A\n\n" + block.format("speed made-flip"))
    (tmp_path / "docs" / "page.md").write_text(block.format("cases made-*") + "\nText.\n")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    assert figures.main(["--write"]) == 0
    return tmp_path


def test_every_figure_of_the_pages_stands_in_a_results_file(capsys):
    code = figures.main([])
    assert code == 0, capsys.readouterr().err


def test_a_row_has_the_fastest_torchvision_and_whoever_is_nearest(report):
    (table,) = speed(report, ["made-flip"])
    assert table.rows == [["32x32: flip", "1", "4,000", "80", "50.0", "0.80, DALI, 2 threads"]]


def test_who_is_faster_is_shown_however_few_rows_are_asked_for(report):
    (table,) = nearest(report, ["0", "made-*"])
    assert [line[1:3] for line in table.rows] == [["DALI, 2 threads", "0.80"]]
    (table,) = nearest(report, ["2", "made-flip"])
    assert [line[1] for line in table.rows] == ["DALI, 2 threads", "torchvision v2, PIL"]


def test_a_case_has_every_system_and_the_failed_ones_and_the_notes(report):
    table, _ = cases(report, ["made-*"])
    assert [line[0] for line in table.rows] == [r["system"] for r in report["cases"]["made-flip"]["rows"]]
    assert table.rows[0] == ["augengine", "1", "4,000", "4,000 to 4,000", "50%", "", ""]
    assert table.rows[-1][2:4] == ["failed", "ValueError: a \\| b"]
    assert {len(line) for line in table.rows} == {len(table.head)}
    assert list(table.lines())[-1] == "- K: no such"


def test_ratios_have_a_column_for_each_system(report):
    (table,) = ratios(report, ["made-flip"])
    assert table.head[3:] == ("torchvision v2", "torchvision v2, PIL", "DALI, 2 threads")
    assert table.rows == [["32x32: flip", "4,000", "50%", "100", "50.0", "0.80"]]


def test_curves_have_a_column_for_each_place_and_a_gap_where_nothing_was_measured(report):
    (table,) = curves(report, ["made-*"])
    assert table.head == ("batch", "8", "64")
    assert table.rows == [["augengine: images/s", "100", "1,234"], ["Kornia: images/s", "", "1,234"]]


@pytest.mark.parametrize("name", sorted({"speed", "cases", "ratios", "curves"}))
def test_a_case_that_the_report_lacks_is_named(report, name):
    with pytest.raises(ValueError, match=r"no case other-flip; it has made-flip, made-size"):
        TABLES[name](report, ["other-flip"])


def test_blocks_that_were_written_are_in_order(repository):
    assert figures.main([]) == 0
    assert "| 32x32: flip | 1 | 4,000 | 80 | 50.0 | 0.80, DALI, 2 threads |" in (repository / "README.md").read_text()
    assert "[all figures](../benchmarks/results/a.json)" in (repository / "docs" / "page.md").read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/page.md"])
def test_a_figure_that_was_changed_by_hand_is_found(repository, capsys, name):
    page = repository / name
    page.write_text(page.read_text().replace("4,000", "5,000"))
    assert figures.main([]) == 1
    assert re.search(rf"{name}:\d: this block is not what benchmarks/results/a.json gives", capsys.readouterr().err)


@pytest.mark.parametrize(
    "claim",
    [
        *(
            "It makes 1,234 images/s.",
            "16.1 times as fast",
            "163x faster",
            "163\u00d7 faster",
            "40 GB/s",
            "28 % faster",
        ),
        *("in 12 ms", "3 \u00b5s a call", "twice as fast", "ten times faster", "a tenfold gain"),
        *("orders of magnitude",),
        *("| torchvision | 163 |", "| **1,234** |", "takes 3 seconds", "12 MB of memory", "99% of it"),
        *("**1,234** images/s", "`1,234` images/s", "<b>18.9</b>x faster", "18.9&nbsp;x faster", "_18.9_ times"),
        *("18.9&times; as much", "[18.9](docs/page.md) x faster", '<img alt="18.9x faster">', "<td>18.9</td>"),
        *("It makes 1,234\nimages/s.", "- it is 18.9\n  times faster", "a **tenth** of\nthe time"),
        *("1,234 images per second", "1,234 samples/s", "1,234 photos a second", "in 0.5 milliseconds"),
        *("five times quicker", "a dozen times faster", "hundreds of times", "ten-fold", "a tenth of the time"),
        *("twice torchvision's speed", "18.9 x faster", "a ratio of 18.9", "by a factor of 3", "half of their time"),
        *("| 18.9 to timm |", "| **18.9** to timm |", "```\n1,234 images/s\n```"),
    ],
)
def test_a_figure_outside_of_a_block_is_found_in_the_readme(repository, capsys, claim):
    page = repository / "README.md"
    page.write_text(page.read_text() + f"\n{claim}\n")
    first = page.read_text().split("\n").index(claim.split("\n")[0]) + 1
    assert figures.main([]) == 1
    said = capsys.readouterr().err
    assert any(f"README.md:{line}: " in said for line in range(first, first + claim.count("\n") + 1))


@pytest.mark.parametrize(
    "text",
    [
        *("It has 3.\n\nSeconds matter.", "Since 2026\n\n- s", "| 2 of 14 | 3 ops |\n| sec |", "# 3\nminutes"),
        *(
            "float32 (8, 3, 224, 224)",
            "an image of 8 x 8",
            "sometimes, many of them",
            "`x * 2`",
            "three or more batches",
        ),
    ],
)
def test_other_words_and_numbers_of_the_readme_are_left_alone(repository, text):
    page = repository / "README.md"
    page.write_text(page.read_text() + f"\n{text}\n")
    assert figures.main([]) == 0


@pytest.mark.parametrize("key", ["images_per_second", "quartiles", "ratio", "ratio_quartiles", "of_copy"])
def test_a_row_that_its_rounds_do_not_give_is_told(repository, report, capsys, key):
    row = report["cases"]["made-flip"]["rows"][2]
    row[key] = [value * 1.01 for value in row[key]] if isinstance(row[key], (list, tuple)) else row[key] * 1.01
    (repository / "benchmarks" / "results" / "a.json").write_text(json.dumps(report))
    assert figures.main([]) == 1
    assert f"a.json: made-flip: torchvision v2: {key} is " in capsys.readouterr().err


@pytest.mark.parametrize("key", ["rounds", "ratio"])
def test_a_row_that_lacks_what_its_figures_need_is_told(repository, report, capsys, key):
    del report["cases"]["made-flip"]["rows"][2][key]
    (repository / "benchmarks" / "results" / "a.json").write_text(json.dumps(report))
    assert figures.main([]) == 1
    assert "a.json: made-flip: torchvision v2" in capsys.readouterr().err


def test_rounds_are_kept_with_six_digits(repository, report):
    rows = rows_of(("augengine", 1, [123456.7, 234567.8, 123457.1]), ("DALI", 1, [1000.123, 1234.567, 1100.777]))
    report["cases"]["made-flip"]["rows"] = rows
    path = repository / "benchmarks" / "results" / "a.json"
    path.write_text(json.dumps(report))
    assert figures.read(path)["cases"]["made-flip"]["rows"][1]["system"] == "DALI"


def test_the_caption_names_the_commit_and_the_images(repository):
    assert "2 cores, 2026-01-02; commit abc1234; 200 photos; medians of 5" in (repository / "README.md").read_text()


def test_a_report_of_code_that_no_commit_has_is_written_by_force_alone(repository, report, capsys):
    report["machine"]["commit"] = "abc1234-dirty"
    path = repository / "benchmarks" / "results" / "b.json"
    path.write_text(json.dumps(report))
    assert figures.main(["--write", str(path)]) == 1
    assert "b.json is of abc1234-dirty: measure a commit" in capsys.readouterr().err
    assert "b.json" not in (repository / "README.md").read_text()
    assert figures.main(["--write", str(path), "--force"]) == 0
    assert "commit abc1234-dirty" in (repository / "README.md").read_text()


def test_a_bar_that_was_changed_by_hand_is_found_by_the_matplotlib_that_drew_it(repository, capsys):
    pytest.importorskip("matplotlib")
    page = repository / "docs" / "page.md"
    page.write_text("<!-- figures: picture made-flip from benchmarks/results/a.json -->\n<!-- end of figures -->\n")
    assert figures.main(["--write"]) == 0
    picture = repository / "docs" / "speed.svg"
    drawn = picture.read_text()
    first, second = re.search(r'd="M ?(\d+)', drawn).span(1)
    longer = f"{drawn[:first]}1{drawn[second:]}"
    picture.write_text(longer)
    assert figures.main([]) == 1
    assert "docs/speed.svg is not of" in capsys.readouterr().err
    picture.write_text(re.sub("drawn by matplotlib .* -->", "drawn by matplotlib 0.0 -->", longer))
    assert figures.main([]) == 0


@pytest.mark.parametrize("claim", ["1,234 images/s", "163x", "28 % of the copy's speed", "the speed is up by 28%"])
def test_a_figure_of_speed_is_found_in_a_page(repository, capsys, claim):
    (repository / "docs" / "page.md").write_text(claim)
    assert figures.main([]) == 1
    assert "docs/page.md:1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        *("224x224 pixels, batches of 64, p=0.25", "28% differ, by up to 1", "an image of 8 x 8", "a shear of 0.1"),
        *("```sh\naugengine doctor --step-ms 50   # a step of 50 ms\n```", "| `m=9` | 2 of 14 |", "sm_90, Python 3.12"),
    ],
)
def test_other_numbers_of_a_page_are_left_alone(repository, text):
    (repository / "docs" / "page.md").write_text(text)
    assert figures.main([]) == 0


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("<!-- figures: speed made-flip from build/a.json -->\n<!-- end of figures -->", "come from a file of"),
        (
            "<!-- figures: speed made-flip from benchmarks/results/b.json -->\n<!-- end of figures -->",
            "no such results",
        ),
        ("<!-- figures: slow from benchmarks/results/a.json -->\n<!-- end of figures -->", "there is no table slow"),
        ("<!-- figures: speed other from benchmarks/results/a.json -->\n<!-- end of figures -->", "no case other"),
        ("<!-- figures: speed made-flip from benchmarks/results/a.json -->\n", "has no marker, no end, or no file"),
    ],
)
def test_a_block_that_cannot_be_rendered_is_told(repository, capsys, marker, told):
    (repository / "docs" / "page.md").write_text(marker)
    assert figures.main([]) == 1
    assert told in capsys.readouterr().err


def test_another_report_becomes_the_source_of_the_blocks_of_its_instruction_set(repository, report):
    narrow = "<!-- figures: speed made-flip from benchmarks/results/a.json with avx2 -->\n<!-- end of figures -->\n"
    page = repository / "docs" / "page.md"
    page.write_text(page.read_text() + narrow)
    results = repository / "benchmarks" / "results"
    for name, isa in (("b", "avx512"), ("c", "avx2")):
        report["machine"]["isa"] = isa
        (results / f"{name}.json").write_text(json.dumps(report))
        assert figures.main(["--write", str(results / f"{name}.json")]) == 0
    assert re.findall(r"from \S+/(\w).json", page.read_text()) == ["b", "c"]
    assert re.findall(r"from \S+/(\w).json", (repository / "README.md").read_text()) == ["b"]


def test_the_picture_is_drawn_from_the_report_and_a_changed_one_is_found(repository, report, capsys):
    pytest.importorskip("matplotlib")
    page = repository / "docs" / "page.md"
    page.write_text(
        "<!-- figures: picture made-flip from benchmarks/results/a.json -->\n<!-- end of figures -->\n",
        encoding="utf-8",
    )
    assert figures.main(["--write"]) == 0
    assert '<img alt="images/s of augengine and of other libraries" src="speed.svg">' in page.read_text()
    pictures = sorted((repository / "docs").glob("speed*"))
    assert [path.name for path in pictures] == ["speed-dark.svg", "speed.svg"]
    assert all("augengine 4,000 images/s" in path.read_text() for path in pictures)
    pictures[0].write_text(pictures[0].read_text().replace("4,000", "5,000"))
    pictures[1].unlink()
    assert figures.main([]) == 1
    said = capsys.readouterr().err
    assert "docs/speed.svg is not of benchmarks/results/a.json" in said
    assert "docs/speed-dark.svg is not of benchmarks/results/a.json" in said


def test_a_report_that_lacks_a_case_changes_no_page(repository, report, capsys):
    before = [page.read_text() for page in figures.pages()]
    del report["cases"]["made-flip"]
    path = repository / "benchmarks" / "results" / "b.json"
    path.write_text(json.dumps(report))
    assert figures.main(["--write", str(path)]) == 1
    assert "benchmarks/results/b.json: the report has no case made-flip" in capsys.readouterr().err
    assert [page.read_text() for page in figures.pages()] == before


def test_the_readmes_rows_stand_beside_those_of_this_machine(repository, report, capsys):
    report["machine"]["cpu"] = "Another (R) CPU"
    slower = rows_of(("augengine", 1, [12.0]), ("torchvision v2, PIL", 1, [80.0]))
    report["cases"]["made-flip"]["rows"] = slower
    (repository / "mine.json").write_text(json.dumps(report))
    assert figures.main(["--beside", str(repository / "mine.json")]) == 0
    said = capsys.readouterr().out
    assert "README: A CPU, avx512, 2 cores, 2026-01-02\nhere:   Another CPU" in said
    kept, here = (line.split() for line in said.splitlines() if line.startswith(("  README", "  here")))
    assert kept[:4] == ["README", "1", "4,000", "80"]
    assert here[:4] == ["here", "1", "12", "80"]


def test_a_case_that_was_not_measured_here_is_a_dash(repository, report, capsys):
    del report["cases"]["made-flip"]
    (repository / "mine.json").write_text(json.dumps(report))
    assert figures.main(["--beside", str(repository / "mine.json")]) == 0
    assert re.search(r"^  here +-( +-){4}$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
def test_a_file_that_is_no_report_is_told(repository, capsys, text):
    (repository / "mine.json").write_text(text)
    assert figures.main(["--beside", str(repository / "mine.json")]) == 1
    assert "mine.json: " in capsys.readouterr().err


def test_pages_that_other_commands_write_are_theirs(repository):
    shutil.copy(ROOT / "docs" / "search.md", repository / "docs" / "search.md")
    assert figures.main([]) == 0


def test_the_readme_links_to_what_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(links) > 30
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_comparison_counts_the_transforms_that_there_are():
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert f"| transforms | {len(list(known_transforms()))}, for classification |" in page


def test_the_papers_to_cite_are_those_that_the_code_names():
    cited = set(re.findall(r"arxiv\.org/abs/(\d{4}\.\d{5})", (ROOT / "README.md").read_text(encoding="utf-8")))
    files = [path for path in (ROOT / "augengine").rglob("*") if path.suffix in (".py", ".toml")]
    named = {number for path in files for number in re.findall(r"arXiv (\d{4}\.\d{5})", path.read_text("utf-8"))}
    assert len(cited) > 10
    assert cited - named == set()
