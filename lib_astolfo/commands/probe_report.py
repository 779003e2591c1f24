"""What a probe leaves behind: one table of all models as markdown, a page, a picture and the figures as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

PICTURE, TABLE, PAGE, FIGURES = "probe.png", "probe.md", "probe.html", "probe.json"
TITLE = "What the models predict, and which uncond they know"
COLUMNS = (
    "model",
    "said",
    "behaves like",
    "nats to the next",
    "as a merge",
    "zero/null at σ 2-5",
    "at σ 0.1-0.3",
    "gap at σ 3",
    "better uncond",
)


def write(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the files; the table, the files by kind, and where they are."""
    from lib_astolfo.jobs.plain import to_json

    from .probe_figure import png

    image, text = png(result["models"]), markdown(result)
    files = {"picture": PICTURE, "table": TABLE, "page": PAGE, "figures": FIGURES}
    figures = json.dumps(json.loads(to_json(result)), indent=1, ensure_ascii=False)
    contents = {PICTURE: image, TABLE: text.encode(), PAGE: html(result, image).encode(), FIGURES: figures.encode()}
    for name, content in contents.items():
        partial = folder / f".{name}.part"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return {"table": text, "files": files, "paths": {kind: str(folder / name) for kind, name in files.items()}}


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a model under ``COLUMNS``."""
    return [_row(model) for model in result["models"]]


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    family, uncond = model["family"], model["uncond"]
    said = f"{model['said']['words']} ({model['said']['source']})"
    mixed = family["prediction"] == "mixed"
    shares = ", ".join(f"{100 * share:.0f} % {name}" for name, share in family["shares"].items())
    behaves = f"mixed: {shares}" if mixed else family["prediction"]
    gain = family["blend"]["gain"]
    blend = f"{'+'.join(family['blend']['families'])} {family['blend']['weight']:.2f}: {gain:+.2f} nats"
    first = (_name(model), said, behaves + (" !" if model["disagreement"] else ""), _pm(family["margin"], 2), blend)
    if uncond is None:
        return (*first, "", "", "", "")
    gap = next((level["gap"] for level in uncond["levels"] if level["sigma"] == 3.0), None)
    better = uncond["trained"] + (", zero drifted" if uncond["drifted"] else "")
    return (*first, _pm(uncond["high"]), _pm(uncond["low"]), _pm(gap), better)


def _name(model: Mapping[str, Any]) -> str:
    return f"{model['name']} {model['merge']}".strip()


def _pm(estimate: Mapping[str, float] | None, digits: int = 3) -> str:
    return "" if estimate is None else f"{estimate['mean']:.{digits}f} ± {estimate['error']:.{digits}f}"


def markdown(result: Mapping[str, Any]) -> str:
    """The table; bars in names are escaped, columns aligned so that a terminal shows it well."""
    cells = [COLUMNS, *rows(result)]
    escaped = [[text.replace("|", "\\|") for text in line] for line in cells]
    widths = [max(len(line[column]) for line in escaped) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in escaped
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def words(model: Mapping[str, Any]) -> list[str]:
    """What was found about a model, sentence by sentence, the most important first."""
    said = [model["verdict"], model["disagreement"]]
    if model["terminal"] is not None:
        said.append(model["terminal"]["words"])
    if model["uncond"] is not None:
        said += [f"{model['uncond']['words']} (read as {model['uncond']['read_as']})", model["uncond"]["advice"]]
    return [text for text in (*said, *(f"note: {note}" for note in model["notes"])) if text]


def html(result: Mapping[str, Any], image: bytes) -> str:
    """One page with nothing from another place: table, picture, words."""
    from lib_astolfo.search.report import STYLE

    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + f"<th>{escape(first)}</th>" + "".join(f"<td>{escape(text)}</td>" for text in rest) + "</tr>"
        for first, *rest in rows(result)
    )
    pictures = result["pictures"]
    source = pictures["folder"] or "the held-out digits"
    under = f"{pictures['count']} pictures from {source}, the same noise for every model."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n"
        f'<h1>{TITLE}</h1>\n<p class="sub">{escape(" ".join([under, *pictures["notes"]]))}</p>\n'
        f'<section class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        '<p class="note">± is one standard error. ! : the file says something else. A ratio below 1 means that zero '
        "denoises better.</p></section>\n"
        f'<section class="scroll"><img alt="curves" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
        f"</section>\n{''.join(_section(model) for model in result['models'])}</main></body></html>\n"
    )


def _section(model: Mapping[str, Any]) -> str:
    items = "".join(
        f'<li class="{"caution" if text == model["disagreement"] else "found"}"><p>{escape(text)}</p></li>'
        for text in words(model)
    )
    return f'<section><h2>{escape(_name(model))}</h2><ul class="verdict">{items}</ul></section>\n'
