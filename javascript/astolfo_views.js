// What jobs of the Astolfo tab made: pictures, verdicts, tables and files, as they come. It needs astolfo.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showJob) return;
  const { API, BUSY, ask, duration, jobPath, make, number, stateOf } = window.astolfoTab;

  const HIDDEN = ["recipe", "sampling", "uncond", "cells", "optima", "files", "table", "winner", "verdict", "primary", "name", "stopped", "summary", "reports"];
  const AS_TEXT = ["differences", "arithmetic", "extract", "genealogy", "lora"]; // tables in words, as the command line has them
  const WORDS = { merged: "keys merged", copied: "not merged", left_out: "left out", non_finite: "not finite", bytes: "size", seconds: "time" };
  const isPicture = (name) => /\.(png|jpe?g|webp)$/i.test(name);
  const address = (job, name) => `${API}${jobPath(job)}/files/${name.split("/").map(encodeURIComponent).join("/")}`;

  function plain(value, name) {
    if (typeof value !== "number") return String(value);
    if (name === "seconds") return value < 10 ? `${number(value)} s` : duration(value);
    return name === "bytes" ? `${number(value / 1e6)} MB` : number(value);
  }

  function showWords(view, job) {
    const busy = BUSY.includes(job.state), words = `${job.kind} ${stateOf(job)}`, { verdict } = job.result || {};
    const head = [make("p", { class: "astolfo-job-state" }, busy && job.progress.text ? `${words} · ${job.progress.text}` : words)];
    if (job.error) head.push(make("p", { class: job.state === "failed" ? "astolfo-error" : "astolfo-about" }, job.error));
    if (verdict) head.push(make("p", { class: "astolfo-headline" }, verdict.headline));
    view.head.replaceChildren(...head);
    const found = verdict ? verdict.sentences.map(({ level, text }) => make("li", { "data-level": level }, text)) : [];
    const made = job.result || {}, list = found.length ? [make("ul", { class: "astolfo-verdict" }, ...found)] : [];
    const text = made.preview || AS_TEXT.includes(job.kind) ? job.text : "";
    const rest = job.kind === "probe" && made.models ? showProbe(made) : text ? [make("pre", {}, text)] : [...resultTable(made), ...(made.reports || []).map(showReport)];
    view.words.replaceChildren(...list, ...rest);
  }

  // ---- what the doctor found in checkpoints ----

  const sentences = (level, texts) => texts.map((text) => make("li", { "data-level": level }, text));

  function table(headings, rows) {
    if (!rows.length) return null;
    const lines = rows.map((row) => make("tr", {}, ...row.map((value) => make("td", {}, value))));
    return make("table", {}, make("thead", {}, make("tr", {}, ...headings.map((word) => make("th", {}, word)))), make("tbody", {}, ...lines));
  }

  /** The table of all probed models, which is markdown, and what was found about each of them. */
  function showProbe({ table: markdown, models, pictures }) {
    const cells = (line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim().replaceAll("\\|", "|"));
    const [headings, , ...rows] = markdown.split("\n").filter(Boolean).map(cells);
    const sections = models.map((model) => {
      const { terminal, uncond } = model, place = make("section", { class: "astolfo-report" }, make("h4", {}, `${model.name} ${model.merge}`.trim()));
      const said = [model.verdict, uncond && `${uncond.words} (read as ${uncond.read_as})`, uncond && uncond.advice];
      const notes = [terminal && terminal.words, ...model.notes, ...pictures.notes];
      place.append(make("ul", { class: "astolfo-verdict" }, ...sentences("caution", [model.disagreement].filter(Boolean)), ...sentences("found", said.filter(Boolean)), ...sentences("note", notes.filter(Boolean))));
      return place;
    });
    return [make("div", { class: "astolfo-table" }, table(headings, rows)), ...sections];
  }

  function showReport(report) {
    const { prediction: said, uncond, markers, hosts, values } = report, place = make("section", { class: "astolfo-report" }, make("h4", {}, report.name));
    if (report.layout) {
      const dtypes = Object.entries(report.dtypes).map(([name, count]) => `${count} ${name}`).join(", ");
      const words = [report.layout, plain(report.size, "bytes"), dtypes, report.short_hash];
      place.append(make("p", { class: "astolfo-about" }, words.filter(Boolean).join(" · ")));
    }
    if (report.problem) place.append(make("p", { class: "astolfo-error" }, report.problem));
    if (!said) return place;
    place.append(make("p", { class: "astolfo-headline" }, `Prediction ${said.words} (${said.source})${uncond ? `, uncond ${uncond.mode}` : ""}`));
    const reads = hosts.map((host) => [host.host, `${host.prediction || "does not load"}${host.zero_terminal_snr ? " ZTSNR" : ""}`, host.because]);
    const strays = Object.entries(markers.stray).map(([key, why]) => `Marker key ${key}: ${why}`);
    const broken = values ? ["nan", "infinite"].filter((kind) => values[kind].length).map((kind) => `${kind} values in ${values[kind].join(", ")}`) : [];
    const list = [...sentences("caution", [...broken, ...strays]), ...sentences("found", report.advice), ...sentences("note", report.notes)];
    const tables = [table(["Source", "Says"], said.says.map((one) => [one.source, one.says])), table(["By itself", "Reads it as", "Because"], reads)];
    place.append(...[make("ul", { class: "astolfo-verdict" }, ...list), ...tables].filter(Boolean));
    return place;
  }

  const empty = (value) => value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);

  /** A value of a list in words: names and values of a mapping, in brackets within another. */
  function word(value) {
    if (value === null || typeof value !== "object") return String(value);
    if (Array.isArray(value)) return value.map(word).join(" ");
    const parts = Object.entries(value).filter(([, part]) => !empty(part));
    return parts.map(([name, part]) => `${name.replaceAll("_", " ")} ${typeof part === "object" ? `(${word(part)})` : part}`).join(", ");
  }

  /** A result's plain values as a table; mappings of counts and lists in one row each, long lists folded away. */
  function resultTable(result) {
    const rows = [];
    const row = (name, ...value) => rows.push(make("tr", {}, make("th", {}, WORDS[name] || name.replaceAll("_", " ")), make("td", {}, ...value)));
    const walk = (value, name) => {
      if (value === null || value === "" || HIDDEN.includes(name)) return;
      if (typeof value !== "object") return row(name, plain(value, name));
      if (!Array.isArray(value) && !(name in WORDS)) return Object.entries(value).forEach(([key, entry]) => walk(entry, key));
      const lines = Array.isArray(value) ? value.map(word) : Object.entries(value).map((pair) => pair.join(": "));
      const items = () => make("ul", {}, ...lines.slice(0, 1000).map((line) => make("li", {}, line)));
      if (lines.length) row(name, lines.length > 6 ? make("details", {}, make("summary", {}, lines.length), items()) : lines.join("; "));
    };
    walk(result, "result");
    return rows.length ? [make("table", {}, make("tbody", {}, ...rows))] : [];
  }

  function showFiles(view, job) {
    const whole = (file) => file.includes("/") || !BUSY.includes(job.state); // sheets are drawn anew until the end
    for (const name of job.files.filter((file) => isPicture(file) && whole(file) && !view.shown.has(file))) {
      view.shown.add(name);
      const picture = make("img", { src: address(job, name), alt: name, loading: "lazy" }), known = view.told[name];
      const caption = make("figcaption", {}, known ? known.text : name.split("/").pop().replace(/\.\w+$/, ""));
      const scores = known ? Object.entries(known.data.scores || {}).map((pair) => pair.join(" ")) : [];
      const more = scores.filter((score) => !known.text.includes(score));
      if (more.length) caption.append(make("small", { title: scores.join("\n") }, more[0]));
      const link = make("a", { href: address(job, name), target: "_blank" }, picture), cell = name.includes("/");
      (cell ? view.cells : view.sheets).append(make("figure", { "data-file": name }, link, cell ? caption : ""));
    }
    const others = job.files.filter((name) => /\.(html|ya?ml|csv|safetensors)$/i.test(name));
    view.links.replaceChildren(...others.map((name) => make("a", { href: address(job, name), target: "_blank" }, name)));
  }

  async function showJob(place) {
    const id = place.dataset.job;
    let view = place.astolfoView;
    if (view?.id !== id) {
      view = place.astolfoView = { id, over: false, last: 0, shown: new Set(), told: {} };
      for (const part of ["head", "links", "sheets", "words", "cells"]) view[part] = make("div", { class: `astolfo-${part}` });
      place.replaceChildren(view.head, view.links, view.sheets, view.words, view.cells);
    }
    if (view.over) return;
    const job = await ask(jobPath(view));
    const news = await ask(`${jobPath(view)}/events?after=${view.last}`);
    for (const event of news) {
      view.last = event.number;
      if (event.data && event.data.picture) view.told[event.data.picture] = event;
    }
    if (window.astolfoTab.showTraining && ["train", "caption"].includes(job.kind)) await window.astolfoTab.showTraining(view, job);
    else if (window.astolfoTab.showStudy && window.astolfoTab.isStudy(job)) window.astolfoTab.showStudy(view, job, news);
    else {
      showWords(view, job);
      showFiles(view, job);
    }
    view.over = !BUSY.includes(job.state);
  }

  window.astolfoTab.showJob = showJob;
})();
