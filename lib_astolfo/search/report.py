"""One self-contained html page about a study: words first, then pictures, curves, tables and how it was made."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from lib_astolfo.search import curves as curve_figures
from lib_astolfo.search import report_scores, sheet
from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.findings import axis_words
from lib_astolfo.search.table import Entry, Table, table
from lib_astolfo.search.verdict import Sentence, Verdict

if TYPE_CHECKING:
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

JPEG_QUALITY = 90
SHADE = 0.55  # strongest colour behind a number of the tables

STYLE = Path(__file__).with_name("report.css")

KINDS = {
    "check": "The same again on fresh seeds",
    "winner": "Merge or full strength",
    "confounder": "Ratio or only a lower CFG",
    "optimum": "Where the ratio is best",
    "uncond": "Uncond against uncond",
    "product": "The product for each uncond",
    "ridge": "Ratio against CFG",
    "saturated": "A score that says nothing",
    "disagreement": "Scores disagree",
    "conflict": "Scores name different best cells",
    "agreement": "Whether the scores agree",
    "failed": "Pictures that have failed",
    "sure": "How sure",
    "missing": "Not decided",
}


@dataclass(frozen=True)
class Extra:
    """What only the caller knows: facts for the list of how it was made, and the text of the winner's recipe."""

    title: str = "Merge ratio, CFG and uncond"
    facts: Mapping[str, str] | None = None
    recipe: str = ""
    before: Sequence[Sentence] = ()  # findings that stand before the others


def html(
    result: StudyResult,
    verdict: Verdict,
    extra: Extra | None = None,
    *,
    contact: Image.Image | None = None,
    surface: bytes = b"",
) -> str:
    """The page. Nothing in it comes from another place: pictures are inside, there are no scripts and no links.

    ``contact``: the contact sheet, where it is made already; ``surface``: the PNG of ``surface_figure``.
    """
    extra = extra or Extra()
    body = [
        f"<h1>{escape(extra.title)}</h1>",
        f'<p class="sub">{escape(axis_words(result))}, {result.plan.settings.pictures} pictures in each of '
        f"{len(result.cells)} cells, no checkpoint written but the winner's.</p>",
        _winner(result, verdict, extra),
        _words(verdict, extra),
        _surface(surface),
        _curves(result),
        _sheet(contact or sheet.contact_sheet(result)),
        report_scores.section(result, lambda cell: _jpeg(_cell_picture(result, cell))),
        _tables(result),
        _made(result, extra),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(extra.title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _winner(result: StudyResult, verdict: Verdict, extra: Extra) -> str:
    best = result.best()
    if best is None:
        return f'<section><p class="headline">{escape(verdict.headline)}</p></section>'
    facts = {AXES[name].words or name: show(value) for name, value in best.cell.values.items()}
    facts["prediction"] = result.plan.sampling_of(best.cell).describe()
    facts |= {name: f"{value.mean:.3f} ± {value.error:.3f}" for name, value in best.scores.items()}
    recipe = (
        f"<details open><summary>Its recipe</summary><pre>{escape(extra.recipe)}</pre></details>"
        if extra.recipe
        else ""
    )
    return (
        f'<section class="winner"><img alt="{escape(best.cell.label)}" src="{_jpeg(_cell_picture(result, best))}">'
        f'<div><p class="headline">{escape(verdict.headline)}</p>{_facts(facts)}{recipe}</div></section>'
    )


def _cell_picture(result: StudyResult, cell: CellResult) -> Image.Image:
    with Image.open(result.folder / cell.picture) as image:
        whole = image.convert("RGB")
    count = result.plan.settings.pictures
    across = min(4, sheet.tiles_across(count))
    return sheet.tiles(sheet.untile(whole, count, across * across), 768 // across)


def _words(verdict: Verdict, extra: Extra) -> str:
    groups = itertools.groupby(
        (*extra.before, *verdict.sentences), key=lambda sentence: (sentence.kind, sentence.level)
    )
    items = "".join(
        f'<li class="{escape(level)}"><b>{escape(KINDS.get(kind, kind))}</b>'
        + "".join(f"<p>{escape(sentence.text)}</p>" for sentence in sentences)
        + "</li>"
        for (kind, level), sentences in groups
    )
    return f'<section><h2>What was found, and how sure it is</h2><ul class="verdict">{items}</ul></section>'


def _curves(result: StudyResult) -> str:
    if "ratio" not in result.plan.axes:
        return ""
    light, dark = (
        _data("image/png", curve_figures.png(result, style=s)) for s in (curve_figures.LIGHT, curve_figures.DARK)
    )
    return (
        '<section><h2>Scores over the ratio</h2><div class="scroll"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}"><img alt="curves of the scores over the ratio" '
        f'src="{light}"></picture></div><p class="note">Bars are one standard error; noise moves all points of a curve '
        "together, so differences along it are surer than the bars look. Ring: best point measured; "
        "band and number: optimum and its 95 % interval. Lines leave the panel far from the optimum.</p></section>"
    )


def _surface(content: bytes) -> str:
    if not content:
        return ""
    return (
        '<section><h2>The surface and what follows</h2><div class="scroll">'
        f'<img alt="the score over two axes, and the best cell under each uncond" src="{_data("image/png", content)}">'
        '</div><p class="note">Under each uncond another cell may be best: another product, for people who draw '
        "with that uncond (zero: A1111 and reForge with an empty negative prompt; null: ComfyUI). "
        "<code>bake study=… under=each</code> writes one file for each.</p></section>"
    )


def _sheet(image: Image.Image) -> str:
    return (
        '<section><h2>Contact sheet</h2><div class="scroll">'
        f'<img alt="pictures of every cell with labelled axes" src="{_jpeg(image)}"></div>'
        '<p class="note">The same prompts and seeds in every cell. The best cell by score is framed; look whether you '
        "agree.</p></section>"
    )


def _tables(result: StudyResult) -> str:
    if not result.plan.scores:
        return ""
    parts = "".join(_table(table(result, score)) for score in curve_figures.ordered(result))
    return f'<section><h2>All scores</h2><div class="scroll">{parts}</div></section>'


def _table(made: Table) -> str:
    words = {"lower": "lower is better", "higher": "higher is better", "none": "no side is better"}
    score = made.score
    side = words[score.better] if isinstance(score.better, str) else f"best at {score.better:g}"
    note = f"{side}; {score.help}" if score.help else side
    headings = made.headings()
    levels = range(len(headings[0]))
    head = "".join(
        f"<tr><th>{escape(made.row_axis) if level == levels[-1] else ''}</th>"
        + "".join(f"<th>{escape(heading[level])}</th>" for heading in headings)
        + "</tr>"
        for level in levels
    )
    shades = _shades(made)
    body = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(_entry(entry, shades) for entry in row)}</tr>"
        for label, row in zip(made.rows, made.entries, strict=True)
    )
    return (
        f"<table><caption>{escape(score.name)} <span>± standard error; {escape(note)}</span></caption>"
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def _shades(made: Table) -> dict[int, float]:
    """How strongly each entry is coloured, by its place among all: the better, the stronger; equals are alike."""
    if not made.score.decides:
        return {}
    known = [entry for row in made.entries for entry in row if entry.value is not None]
    losses = {id(entry): float(made.score.loss(entry.value.mean)) for entry in known if entry.value is not None}
    order = np.array(sorted(losses.values()))
    ranks = {
        key: (np.searchsorted(order, loss) + np.searchsorted(order, loss, "right") - 1) / 2
        for key, loss in losses.items()
    }
    return {key: SHADE * (1 - float(rank) / max(len(ranks) - 1, 1)) ** 2 for key, rank in ranks.items()}


def _entry(entry: Entry, shades: Mapping[int, float]) -> str:
    classes = " ".join(name for name, on in (("best", entry.best), ("winner-cell", entry.winner)) if on)
    shade = shades.get(id(entry), 0.0)
    style = f' style="background: rgba(var(--shade), {shade:.2f})"' if shade > 0.01 else ""
    return f'<td class="{classes}"{style}>{escape(entry.text)}</td>'


def _made(result: StudyResult, extra: Extra) -> str:
    settings = result.plan.settings
    facts = {f"model {slot}": name for slot, name in settings.models.items()}
    facts |= {f"{slot} is": mark for slot, mark in result.plan.identity.items()}
    facts |= {AXES[n].words or n: ", ".join(show(v) for v in values) for n, values in result.plan.axes.items()}
    facts["pictures"] = f"{settings.pictures} a cell, seeds from {settings.seed}"
    facts["sampler"] = f"{settings.sampler}, {settings.steps} steps"
    facts["drawn in"] = f"{sum(cell.seconds for cell in result.cells):.0f} s"
    facts |= dict(extra.facts or {})
    text = OmegaConf.to_yaml(OmegaConf.structured(settings))
    best = result.best() or result.cells[0]
    return (
        f"<section><h2>How it was made</h2>{_facts(facts)}<details><summary>Settings of the grid</summary>"
        f"<pre>{escape(text)}</pre></details><details><summary>Infotext of the first picture of the cell shown on top"
        f"</summary><pre>{escape(best.infotext)}</pre></details></section>"
    )


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return _data("image/jpeg", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
