// The data of a training before its start: pictures by bucket, what was left out, memory. It needs astolfo.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showData) return;
  const { API, jobPath, make, number } = window.astolfoTab;
  const GIB = 2 ** 30, SHOWN = 200; // lines of a long list
  const gib = (bytes) => (bytes < GIB / 20 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / GIB).toFixed(bytes < GIB ? 2 : 1)} GiB`);
  const base = (path) => String(path).split(/[\\/]/).pop();

  /** A bucket: its pictures as they are cut, with name and caption on the tooltip. */
  function bucket(job, thumbs, lines) {
    const [width, height] = thumbs.size, [cell, tall] = thumbs.cell;
    const line = lines.find(({ size }) => size[0] === width && size[1] === height) || {};
    const words = [`${thumbs.pictures} picture${thumbs.pictures === 1 ? "" : "s"}`, line.seen != null && line.seen !== thumbs.pictures && `${number(line.seen)} an epoch`, line.batches != null && `${line.batches} batches`];
    const grid = make("div", { class: "astolfo-thumbs" });
    const address = `${API}${jobPath(job)}/files/${encodeURIComponent(thumbs.file)}`;
    thumbs.items.forEach((item, at) => {
      const column = at % thumbs.columns, row = Math.floor(at / thumbs.columns);
      const title = `${base(item.name)}${item.repeats !== 1 ? ` × ${number(item.repeats)}` : ""}\n${item.caption || "no caption"}`;
      const one = make("div", { class: item.caption ? "" : "astolfo-bare", role: "img", title, "aria-label": title });
      one.style.cssText = `width:${cell}px;height:${tall}px;background-image:url("${address}");background-position:-${column * cell}px -${row * tall}px`;
      grid.append(one);
    });
    if (thumbs.pictures > thumbs.items.length) grid.append(make("span", { class: "astolfo-about" }, `and ${thumbs.pictures - thumbs.items.length} more`));
    return make("section", { class: "astolfo-bucket" }, make("h4", {}, `${width} × ${height}`), make("span", { class: "astolfo-about" }, words.filter(Boolean).join(" · ")), grid);
  }

  /** How many pictures each bucket has, as bars: the shape of the data at a glance. */
  function shape(lines) {
    if (lines.length < 2) return null;
    const most = Math.max(...lines.map(({ pictures }) => pictures));
    const bars = lines.map(({ size, pictures }) => {
      const bar = make("div", { title: `${size.join(" × ")}: ${pictures}` }, make("i", {}), make("small", {}, size.join("×")));
      bar.firstChild.style.height = `${Math.max(3, (60 * pictures) / most)}px`;
      return bar;
    });
    return make("div", { class: "astolfo-shape" }, ...bars);
  }

  /** A list that is folded away where it is long. */
  function fold(title, lines, level) {
    if (!lines.length) return null;
    const items = lines.slice(0, SHOWN).map((line) => make("li", {}, line));
    if (lines.length > SHOWN) items.push(make("li", {}, `… and ${lines.length - SHOWN} more`));
    const place = make("details", { class: "astolfo-fold", "data-level": level || "note" }, make("summary", {}, `${title}: ${lines.length}`), make("ul", {}, ...items));
    if (lines.length <= 4 && level === "caution") place.open = true;
    return place;
  }

  /** What memory is needed against what is free, by part; what would fit where it does not. */
  function memory(told) {
    if (!told) return null;
    const parts = Object.entries(told.parts || {}).filter(([, bytes]) => bytes > 0);
    const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0) || 1;
    const loaded = Math.max(0, total - told.needed), whole = Math.max(total, (told.free || 0) + loaded);
    const rail = make("div", { class: "astolfo-memory-rail" }), legend = make("div", { class: "astolfo-legend" });
    parts.forEach(([name, bytes], at) => {
      const bar = make("i", { class: `c${at % 8}`, title: `${name}: ${gib(bytes)}` });
      bar.style.width = `${(100 * bytes) / whole}%`;
      rail.append(bar);
      legend.append(make("span", { class: `c${at % 8}` }, `${name} ${gib(bytes)}`));
    });
    const words = [`${gib(told.needed)} needed${loaded ? ` besides ${gib(loaded)} that are loaded` : ""}`, told.free != null && `${gib(told.free)} free`, told.fits ? "it fits" : "it does not fit"];
    const place = make("section", { class: "astolfo-memory" }, make("h4", {}, "Memory"), make("p", { class: told.fits ? "astolfo-about" : "astolfo-error" }, words.filter(Boolean).join(" · ")), rail, legend);
    if (told.instead) place.append(make("p", { class: "astolfo-headline" }, `Fits with ${gib(told.instead.needed)}: ${told.instead.settings.join(", ")}`));
    else if (!told.fits) place.append(make("p", { class: "astolfo-headline" }, "No choice that is known fits: fewer blocks, or a smaller resolution"));
    return place;
  }

  const counted = (report) => {
    const lengths = Object.keys(report.tokens || {}).map(Number);
    return lengths.length ? `captions of ${Math.min(...lengths)} to ${Math.max(...lengths)} tokens` : "";
  };

  /** The whole report of a job of `train report=true`. */
  function showData(view, job) {
    const found = job.result, report = found.data[0];
    const head = `${report.pictures} pictures, ${number(report.seen)} an epoch · ${found.steps} steps · ${found.held_out} held out for validation`;
    view.head.replaceChildren(make("p", { class: "astolfo-headline" }, head), ...[counted(report)].filter(Boolean).map((words) => make("p", { class: "astolfo-about" }, words)));
    const said = [...found.notes, ...report.notes].map((text) => make("li", { "data-level": /does nothing/.test(text) ? "caution" : "found" }, text));
    const lists = [
      fold("left out", report.left_out.map(([name, why]) => `${base(name)}: ${why}`), "caution"),
      fold(`captions over ${report.limit} tokens`, report.over.map(([name, count]) => `${base(name)}: ${count}`), "caution"),
      fold("files with the same bytes", report.duplicates.map((group) => group.map(base).join(" = ")), "caution"),
      fold("without a caption of their own", report.empty.map(([name, text]) => `${base(name)}: ${text ? `“${text}”` : "empty"}`)),
      fold("enlarged", report.enlarged.map(([name, factor]) => `${base(name)}: ${number(factor)} times`)),
      fold("losing more than a quarter to the crop", report.cropped.map(([name, share]) => `${base(name)}: ${Math.round(100 * share)} %`)),
      fold("changed when opened", Object.entries(report.changed).map(([what, count]) => `${count} pictures: ${what}`)),
      fold("sources", report.sources.map(({ name, pictures, seen }) => `${base(name)}: ${pictures} pictures, ${number(seen)} an epoch`)),
    ];
    const list = said.length ? make("ul", { class: "astolfo-verdict" }, ...said) : null;
    const more = found.data.length > 1 ? make("p", { class: "astolfo-about" }, `The first of ${found.data.length} ways in which the phases see the data.`) : null;
    view.words.replaceChildren(...[memory(found.memory), list, ...lists, more].filter(Boolean));
    view.data.replaceChildren(...[shape(report.buckets), ...(found.thumbs || []).map((one) => bucket(job, one, report.buckets))].filter(Boolean));
  }

  /** What a tagger found: the most frequent tags, and what was written. */
  function showCaptions(view, job) {
    const found = job.result;
    view.head.replaceChildren(make("p", { class: "astolfo-headline" }, found.summary));
    const most = Math.max(1, ...found.tags.map(([, count]) => count));
    const tags = make("div", { class: "astolfo-tags" }, ...found.tags.map(([name, count]) => {
      const tag = make("span", { title: `${count} pictures` }, name, make("small", {}, count));
      tag.style.opacity = 0.55 + (0.45 * count) / most;
      return tag;
    }));
    const rows = [...found.captions].sort((a, b) => (a.what === "kept") - (b.what === "kept")).map(({ file, what, caption }) => make("tr", {}, make("th", {}, base(file)), make("td", {}, what), make("td", {}, caption)));
    const lists = [fold("left out", found.left_out.map(([name, why]) => `${base(name)}: ${why}`), "caution"), fold("no tag found", found.without_tags.map(base), "caution"), fold("notes", found.notes)];
    const table = rows.length ? make("div", { class: "astolfo-table" }, make("table", {}, make("tbody", {}, ...rows))) : null;
    view.words.replaceChildren(...[tags, ...lists, table].filter(Boolean));
  }

  Object.assign(window.astolfoTab, { showData, showCaptions });
})();
