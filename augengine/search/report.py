"""`write_report`: what a search found, what that is worth and what it cost, as one HTML file that needs no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from augengine.policies import Policy
from augengine.search import figures
from augengine.search.arms import SEARCHED, in_words
from augengine.search.markup import count, duration, figure, section, table
from augengine.search.methods import Found
from augengine.search.pictures import img_elements, stages, step_label
from augengine.search.settings import Settings
from augengine.train.durable import replace_file

if TYPE_CHECKING:
    from augengine.search.compare import ArmRow, Comparison
    from augengine.search.correlation import Correlation
    from augengine.search.study import Told

MOST_SHOWN = 25  # sub-policies as pictures, and errors
IMAGES_SHOWN = 4
PUBLISHED = (  # name, GPU hours of the search on reduced CIFAR-10, arXiv number
    ("AutoAugment", 5000, "1805.09501"),
    ("Population Based Augmentation", 5, "1905.05393"),
    ("Fast AutoAugment", 3.5, "1905.00397"),
    ("DADA", 0.1, "2003.03780"),
)
USE = """import augengine as ae

policy = ae.Policy.from_json(open("policy.json").read())
augment = ae.AutoAugment(policy)  # a transform, such as ae.Pipeline(augment, ...) takes
"""


@dataclass(frozen=True)
class Cost:
    """What it took, in seconds: of the clock; of the search's trials together, of which on GPUs; and of the trials of
    the comparison and the rank correlation together."""

    wall_s: float
    child_s: float
    gpu_s: float
    compare_s: float
    device: str


@dataclass(frozen=True)
class Report:
    """What there is to say; `told` are the search's own trials, and `images` uint8 (n, C, H, W), a few of those
    trained on."""

    settings: Settings
    told: Sequence["Told"]
    found: Found
    images: Tensor
    cost: Cost
    comparison: "Comparison | None" = None
    correlation: "Correlation | None" = None


def write_report(report: Report, path: Path) -> None:
    """Writes the report, whole or not at all; raises OSError where `path` can't be written."""
    replace_file(path, report_html(report).encode())


def report_html(report: Report) -> str:
    """The page: nothing in it is loaded from elsewhere, and nothing runs."""
    title = escape(f"Policy search on {report.settings.data}: {report.settings.method}")
    css = figures.colors() + files("augengine.search").joinpath("report.css").read_text("utf-8")
    head = f'<meta charset="utf-8"><title>{title}</title><style>\n{css}</style>'
    viewport = '<meta name="viewport" content="width=device-width">'
    body = "\n".join([f"<h1>{title}</h1>", _summary(report), _verdict(report), *_sections(report)])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{viewport}{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _sections(report: Report) -> Iterator[str]:
    yield section("Progress", _progress(report))
    if report.comparison is not None:
        yield section("Beside what costs nothing", _comparison(report.comparison))
    if report.correlation is not None:
        yield section("What short trainings say of long ones", _correlation(report.correlation))
    yield section("The policy", _policy(report.found.policy, report.images))
    if report.found.schedule:
        yield section("The schedule", _schedule(report.found.schedule))
    yield section("How to use it", f"<pre>{escape(USE)}</pre>")
    yield section("What it cost", _cost(report))
    if failed := [one for one in report.told if one.outcome is None]:
        yield section("Trials that failed", _failures(failed))
    yield section("What was told to the search", _settings(report.settings))


def _summary(report: Report) -> str:
    told, settings = report.told, report.settings
    failed = sum(one.outcome is None for one in told)
    said = [f"{count(len(told), 'trial')}{f', {failed} of them failed' if failed else ''}"]
    said += [f"children of {count(settings.epochs, 'epoch')}", f"seed {settings.seed}"]
    if (best := best_score(told, settings)) is not None:
        said.append(f"best score {best:.2%}")
    said.append(f"{duration(report.cost.wall_s)} on {report.cost.device}")
    return f'<p class="faint">{escape(" · ".join(said))}</p>'


def best_score(told: Sequence["Told"], settings: Settings) -> float | None:
    """The highest score of the trials that the method chooses by; None where there is none."""
    return max((one.outcome.score for one in told if one.outcome and settings.counts(one.trial)),
               default=None)  # fmt: skip


def _verdict(report: Report) -> str:
    unknown = "Whether the policy beats what costs nothing was not measured; --compare does it."
    said = unknown if report.comparison is None else report.comparison.verdict()
    return f'<p class="verdict">{escape(said)}</p>'


def _progress(report: Report) -> str:
    note = "Scores are accuracies on held-out training images; the test images have no part in the search."
    return figures.progress_chart(report.told, report.settings.counts) + f'\n<p class="faint">{note}</p>'


def _comparison(comparison: "Comparison") -> str:
    seeds = f"{count(comparison.seeds, 'seed')}, the same for every arm"
    lengths = f"{count(comparison.epochs, 'epoch')} on {count(comparison.train_images, 'image')}"
    note = (
        f"Each arm is trained for {lengths} and measured on {count(comparison.test_images, 'test image')}, with "
        f"{seeds}. Bars are 95% bootstrap intervals of the mean over seeds, dots are seeds. A difference is the "
        "searched policy's accuracy minus the arm's with the same seed, in percentage points: above 0 the searched "
        "policy is better. p is two-sided, of flipping the signs of the differences; Holm's is adjusted for all arms."
    )
    heads = ("arm", "#seeds", "#accuracy", "#95% interval", "#difference", "#95% interval", "#p", "#p (Holm)",
             "#a training")  # fmt: skip
    rows = [(_arm_cells(arm), arm.name == SEARCHED) for arm in comparison.arms]
    about = table(("arm", "transforms"), [((arm.name, arm.transforms), False) for arm in comparison.arms])
    return f"{figures.arms_chart(comparison)}\n<p>{note}</p>\n{table(heads, rows)}\n<p>What each arm is:</p>\n{about}"


def _arm_cells(arm: "ArmRow") -> Sequence[str]:
    ended = sum(accuracy is not None for accuracy in arm.accuracies)
    seeds = f"{ended}, {arm.failed} failed" if arm.failed else f"{ended}"
    return (
        *(arm.name, seeds, f"{arm.mean:.2%}" if ended else "", _interval(arm.interval, 100, "")),
        f"{100 * arm.difference:+.2f}" if arm.difference is not None else "",
        _interval(arm.difference_interval, 100, "+"),
        *("" if p is None else f"{p:.3f}" for p in (arm.p, arm.p_holm)),
        duration(arm.seconds) if ended else "",
    )


def _interval(interval: tuple[float, float] | None, scale: float, sign: str) -> str:
    return "" if interval is None else f"{interval[0] * scale:{sign}.2f} to {interval[1] * scale:{sign}.2f}"


def _correlation(correlation: "Correlation") -> str:
    said = (
        f"{correlation.sentence()} Near 1 the short training finds the same policies as the long one would; near 0 it "
        "says nothing of them."
    )
    return f"{figures.correlation_chart(correlation)}\n<p>{escape(said)}</p>"


def _policy(policy: Policy, images: Tensor) -> str:
    subs, shown = policy.sub_policies, images[:IMAGES_SHOWN].cpu()
    note = (
        "Each image gets one of the sub-policies by chance; here every op is applied, whatever its probability. To "
        "which side an op moves, turns or shifts is drawn for each image."
    )
    left = len(subs) - MOST_SHOWN
    more = f"<p>And {count(left, 'sub-policy', 'sub-policies')} more, in policy.json.</p>" if left > 0 else ""
    originals = figure(img_elements(shown, "image"), "the images")
    rows = "\n".join(
        f"<li><b>{i + 1}</b><div>{originals}{_stages(sub, policy.profile, shown)}</div></li>"
        for i, sub in enumerate(subs[:MOST_SHOWN])
    )
    said = f"{count(len(subs), 'sub-policy', 'sub-policies')}. {note}"
    return f'<p class="faint">{said}</p>\n<ol class="policy">\n{rows}\n</ol>\n{more}'


def _stages(sub: Sequence[tuple[str, float, float | None]], profile: str, images: Tensor) -> str:
    behind = stages(sub, profile, images)
    labels = [step_label(step, profile) for step in sub]
    return "".join(figure(img_elements(b, label), label) for b, label in zip(behind, labels, strict=True))


def _schedule(schedule: Sequence[Policy]) -> str:
    said = (
        f"The training is divided into {count(len(schedule), 'equal part')}. The deeper the colour, the more an op "
        "is applied: probability times magnitude (of the highest), summed over a sub-policy's ops, their mean over "
        "sub-policies. An op without magnitude counts with its probability alone."
    )
    return f'{figures.schedule_chart(schedule)}\n<p class="faint">{said}</p>'


def _cost(report: Report) -> str:
    cost = report.cost
    mine = f"{cost.gpu_s / 3600:,.3g} GPU hours" if cost.gpu_s else f"{cost.child_s / 3600:,.3g} hours, no GPU"
    took = [("the search, by the clock", cost.wall_s), ("the search's trials together", cost.child_s)]
    took += [("of these on GPUs", cost.gpu_s)] if cost.gpu_s else []
    took += [("comparison and rank correlation, trials together", cost.compare_s)] if cost.compare_s else []
    times = table(("what", "#time"), [((name, duration(seconds)), False) for name, seconds in took])
    published = "".join(
        f'<tr><td>{name}</td><td class="number">{hours:,g} GPU hours</td>'
        f'<td><a href="https://arxiv.org/abs/{number}">arXiv {number}</a></td></tr>'
        for name, hours, number in PUBLISHED
    )
    own = f'<tr class="searched"><td>this search</td><td class="number">{mine}</td><td>{escape(cost.device)}</td></tr>'
    head = '<tr><th>search</th><th class="number">cost</th><th>where</th></tr>'
    note = (
        "Published costs are those of searches on reduced CIFAR-10 (AutoAugment's on P100s), with other networks and "
        "GPUs: orders of magnitude compare, hours do not."
    )
    return f'{times}\n<p class="faint">{note}</p>\n<table><thead>{head}</thead><tbody>{own}{published}</tbody></table>'


def _failures(failed: Sequence["Told"]) -> str:
    rows = "".join(
        f'<tr><td class="number">{one.number}</td><td>{escape(_about(one))}</td>'
        f'<td class="error"><pre class="error">{escape(one.error.strip() or "no word of why")}</pre></td></tr>'
        for one in failed[:MOST_SHOWN]
    )
    left = len(failed) - MOST_SHOWN
    more = f"<p>And {left:,} more, in search.log.</p>" if left > 0 else ""
    head = '<tr><th class="number">trial</th><th>what</th><th>error</th></tr>'
    return (
        '<p class="faint">Each was tried as often as it may be; it counts as a score of 0.</p>\n'
        f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>{more}'
    )


def _about(told: "Told") -> str:
    if told.trial.draws:
        return f"measuring on {told.trial.split}"
    return f"{count(told.trial.until or told.trial.epochs, 'epoch')}, measured on {told.trial.split}"


def _settings(settings: Settings) -> str:
    space = settings.space
    said = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "space"}
    said |= {"model": settings.child_model, "budget": settings.epochs, "transforms": in_words((settings.base,))}
    said |= {f"space.{name}": getattr(space, name) for name in space.__dataclass_fields__}
    said["space.ops"] = ", ".join(space.ops)
    rows = [((name, str(value)), False) for name, value in said.items() if value not in (None, {})]
    return table(("setting", "value"), rows)
