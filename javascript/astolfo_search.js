// A grid or search while it runs and afterwards, and the Search panel's fields while they are filled. It needs
// astolfo.js and astolfo_sheet.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showStudy) return;
  const tab = window.astolfoTab;
  const { API, BUSY, all, ask, duration, jobPath, make, number, one, stateOf } = tab;
  const KINDS = ["grid", "search", "demo", "exhaust"];
  const CHECK_WAIT = 350, CHECK_LIMIT = 30000; // milliseconds
  const PANEL = "#astolfo_search_fields";
  const TITLES = {
    check: "The same again on fresh seeds", winner: "Merge or full strength", confounder: "Ratio or only a lower CFG", optimum: "Where the ratio is best",
    uncond: "Uncond against uncond", product: "The product for each uncond", ridge: "Ratio against CFG", saturated: "A score that says nothing",
    disagreement: "Scores disagree", conflict: "Scores name different best cells", agreement: "Whether the scores agree", failed: "Pictures that have failed", sure: "How sure", missing: "Not decided",
  };
  const FIRST = ["check", "winner", "confounder", "disagreement", "conflict", "failed", "missing"]; // cautions that stand beside the headline
  const ACTS = [
    ["pause", "Pause", ["running"], "Wait after the pictures at hand; the model is free meanwhile"],
    ["resume", "Resume", ["paused"], "Go on"],
    ["stop", "Stop and keep", ["queued", "running", "paused"], "End early; what is drawn is judged and kept"],
    ["cancel", "Discard", BUSY, "End and delete what this job made"],
  ];

  const press = (id) => { const place = one(id); if (place) (place.tagName === "BUTTON" ? place : one("button", place)).click(); };
  const button = (words, help, act, kind) => {
    const made = make("button", { type: "button", class: `astolfo-button ${kind || ""}`, title: help }, words);
    made.addEventListener("click", act);
    return made;
  };
  const link = (words, href, help) => make("a", { class: "astolfo-button", href, target: "_blank", title: help || "" }, words);

  function openTab(name) {
    const found = all("#astolfo_tabs button").filter((entry) => entry.textContent.trim() === name);
    (found.find((entry) => entry.getAttribute("role") === "tab") || found[0])?.click(); // newer gradio has them twice
  }

  // ---- the fields are looked at a moment after the last key, one look at a time ----

  let looking = 0, wished = false, timer = 0;

  function check() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      wished = Date.now() - looking < CHECK_LIMIT;
      if (wished) return;
      looking = Date.now();
      tab.quiet = true;
      press("#astolfo_search_do_look");
    }, CHECK_WAIT);
  }

  function checkEnds() {
    looking = 0;
    if (wished) check();
  }

  for (const kind of ["input", "change", "click", "focusout"]) {
    document.addEventListener(kind, ({ target }) => { if (target.closest?.(PANEL)) check(); }, true);
  }
  document.addEventListener("click", ({ target }) => { if (!target.closest?.(PANEL) && !target.closest?.("#astolfo_search_do_look")) tab.quiet = false; }, true);

  // ---- one study ----

  /** Whether the study is shown in the Search tab; a training's grid is shown at the training too. */
  const isHere = (view) => Boolean(view.head.closest("#astolfo_search_result"));

  function build(view) {
    for (const part of ["acts", "rail", "sheetbar", "table", "figures", "verdict", "said", "after"]) view[part] = make("div", { class: `astolfo-study-${part}` });
    view.head.after(view.acts, view.rail, view.verdict, view.after, view.sheetbar, view.table, view.figures, view.said);
    view.figures.after(view.sheets);
    view.problem = make("p", { class: "astolfo-error", role: "alert" });
    view.acts.append(...ACTS.map(([act, words, , help]) => button(words, help, () => guard(view, async () => { await ask(`${jobPath(view)}/${act}`, "POST"); tab.wake(); }), `astolfo-act-${act}`)));
    if (!isHere(view)) view.acts.append(button("Open in the Search tab", "With the list of all studies", () => { openTab("Search"); press("#astolfo_search_latest"); }));
    view.acts.append(view.problem);
    view.bar = make("div", { class: "astolfo-bar-done" });
    view.rail.append(make("div", { class: "astolfo-bar", role: "progressbar", "aria-label": "Pictures drawn", "aria-valuemin": 0, "aria-valuemax": 100 }, view.bar));
    view.images = {};
    view.cellsFound = new Map();
    view.drawn = [];
    view.plan = { axes: {}, scores: {}, words: {} };
    view.shownAs = { score: "", numbers: false };
    view.address = (name) => `${API}${jobPath(view)}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
    view.open = (cell) => (tab.compareAddress ? tab.compareAddress(view.id, cell) : view.address(cell.picture));
    view.made = make("div", { class: "astolfo-run-made" });
  }

  async function guard(view, act) {
    view.problem.textContent = "";
    try { await act(); } catch (error) { view.problem.textContent = error.message; }
  }

  function takeIn(view, job) {
    let grown = false;
    for (const event of view.news.splice(0)) {
      const data = event.data || {};
      if (job.kind === "exhaust" && data.picture) { view.drawn.push(event); grown = true; }
      if (data.plan) { view.plan = { ...data.plan, whole: job.kind !== "search" || job.settings.strategy === "grid" }; grown = true; }
      if (data.cell) { view.cellsFound.set(data.cell.label, data.cell); grown = true; }
    }
    if (job.result && !view.judged) { // whole: also cells of other workers and of an earlier run
      view.judged = grown = true;
      if ((job.result.cells || []).length) view.cellsFound = new Map(job.result.cells.map((cell) => [cell.label, cell]));
    }
    return grown;
  }

  function showHead(view, job) {
    const busy = BUSY.includes(job.state), { done, total, text, seconds_left: left } = job.progress;
    const strategy = job.settings.strategy || job.kind, percent = total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 0;
    const words = [`${strategy} ${stateOf(job)}`, busy && text, busy && total > 0 && `${done} of ${total} pictures, ${percent} %`, busy && left != null && `${duration(left)} left`];
    const lines = [make("p", { class: "astolfo-job-state", role: "status" }, words.filter(Boolean).join(" · "))];
    if (job.error) lines.push(make("p", { class: job.state === "failed" ? "astolfo-error" : "astolfo-about" }, job.error));
    if (view.planned) lines.push(make("p", { class: "astolfo-about" }, view.planned));
    view.head.replaceChildren(...lines);
    for (const [act, , states] of ACTS) one(`.astolfo-act-${act}`, view.acts).hidden = !states.includes(job.state);
    view.rail.hidden = !busy;
    view.bar.style.width = `${percent}%`;
    view.rail.firstChild.setAttribute("aria-valuenow", percent);
    if (busy) view.head.parentElement.setAttribute("data-fresh", ""); // on a phone it then stands before the fields
  }

  function showBar(view, redraw) {
    const names = Object.keys(view.plan.scores || {}), { shownAs } = view;
    shownAs.score ||= view.plan.primary || names[0] || "";
    if (!names.length || view.bars === names.join()) return;
    view.bars = names.join();
    const score = make("select", { "aria-label": "Score that is shown" }, ...names.map((name) => make("option", { value: name }, name)));
    score.value = shownAs.score;
    score.addEventListener("change", () => { shownAs.score = score.value; redraw(); });
    const kinds = [["Pictures", false], ["Numbers", true]].map(([words, numbers]) => button(words, numbers ? "The scores, shaded: the better, the stronger" : "The pictures of each cell", () => {
      shownAs.numbers = numbers;
      kinds.forEach((entry, index) => entry.setAttribute("aria-pressed", Boolean(index) === numbers));
      redraw();
    }));
    kinds.forEach((entry, index) => entry.setAttribute("aria-pressed", Boolean(index) === shownAs.numbers));
    view.sheetbar.replaceChildren(make("h4", {}, "Cells"), ...kinds, make("label", {}, "score ", score));
  }

  function draw(view, job) {
    if (job.kind === "exhaust") { view.table.replaceChildren(...tab.exhaustion(view, job.result, view.drawn)); return; }
    const cells = filled([...view.cellsFound.values()], job.settings), { score } = view.shownAs;
    view.table.replaceChildren(...(cells.length || view.plan.whole ? tab.showSheet(view, cells, view.plan, view.shownAs) : []));
    view.figures.replaceChildren(...(score ? tab.sheetCurves(cells, view.plan, score, score === view.plan.primary ? job.result?.optima : []) : []));
  }

  /** Cells that lack an axis which others have stand at what the study says for all: a search's guards vary the CFG. */
  function filled(cells, settings) {
    const names = [...new Set(cells.flatMap((cell) => Object.keys(cell.values)))];
    return cells.map((cell) => {
      const lacking = names.filter((name) => cell.values[name] === undefined && settings[name] != null);
      if (!lacking.length) return cell;
      const at = (shown) => Object.fromEntries(lacking.map((name) => [name, shown ? String(settings[name]) : settings[name]]));
      return { ...cell, values: { ...cell.values, ...at(false) }, shown: { ...cell.shown, ...at(true) } };
    });
  }

  function showVerdict(view, job) {
    const { verdict } = job.result || {};
    if (!verdict) return;
    const list = (sentences) => make("ul", { class: "astolfo-verdict" }, ...sentences.map(({ kind, level, text }, at) => {
      const first = !at || sentences[at - 1].kind !== kind;
      return make("li", { "data-level": level, "data-kind": kind }, first ? make("b", {}, TITLES[kind] || kind) : "", make("span", {}, text));
    }));
    const first = verdict.sentences.filter(({ kind, level }) => level === "caution" && FIRST.includes(kind)), rest = verdict.sentences.filter((one) => !first.includes(one));
    view.verdict.replaceChildren(make("p", { class: "astolfo-headline" }, verdict.headline), list(first));
    view.said.replaceChildren(make("h4", {}, "What was found, and how sure it is"), list(rest));
  }

  function showAfter(view, job) {
    const { winner, products = [] } = job.result || {}, here = isHere(view);
    const row = make("div", { class: "astolfo-after" }), files = job.files.filter((name) => !name.includes("/"));
    if (view.cellsFound.size && tab.comparePage) row.append(link("Compare pictures", tab.comparePage(view.id), "Zoom, side by side, slider between two, differences; votes by keyboard"));
    if (winner && winner.recipe) row.append(...bake(view, products));
    if (winner && winner.recipe) row.append(button("Apply to the loaded model", "The winner's merge in the weights; no file is written", () => guard(view, () => applyLive(view, winner))));
    if (winner && winner.recipe && here) row.append(button("To the Merge tab", "The winner's recipe in its fields", () => press("#astolfo_search_do_to_merge")));
    if (here && ["grid", "search"].includes(job.kind)) row.append(button("Use its settings", "Fill the fields with this study's settings", () => press("#astolfo_search_do_again")));
    if (job.state !== "done" && (job.settings.folder || job.settings.study)) row.append(button("Go on with it", "Draw the cells that are missing", () => guard(view, () => goOn(view, job))));
    const known = { "report.html": "Report", "look.html": "Page of the pictures", "exhaustion.html": "Report", "exhaustion.png": "Contact sheet", "exhaustion.csv": "CSV", "exhaustion.json": "JSON", "cells.csv": "CSV", "report.json": "JSON", "surface.png": "Surfaces", "sheet.png": "Contact sheet", "curves.png": "Curves", "winner-recipe.yaml": "Recipe" };
    const links = files.filter((name) => /\.(html|ya?ml|csv|png|json)$/i.test(name)).map((name) => make("a", { href: view.address(name), target: "_blank" }, known[name] || name));
    const where = job.settings.folder ? [make("span", { class: "astolfo-about" }, `kept in ${job.settings.folder} of the outputs folder`)] : [];
    view.after.replaceChildren(row, make("div", { class: "astolfo-links" }, ...links, ...where), view.made);
  }

  function bake(view, products) {
    const name = make("input", { type: "text", placeholder: "file name", "aria-label": "File name of the baked winner", title: "Empty: made from the models and the ratio" });
    const which = products.length > 1 ? make("select", { "aria-label": "Which product" }, make("option", { value: "" }, "winner"), ...products.map(({ under, label }) => make("option", { value: under, title: label }, `best under ${under}`))) : null;
    const act = () => guard(view, async () => {
      const job = await ask("bake", "POST", { ...(which && which.value ? { study: view.id, under: which.value } : { job: view.id }), output: name.value.trim() });
      view.made.replaceChildren(make("div", { class: "astolfo-job", "data-job": job.id, "data-kind": "bake" }, make("p", { class: "astolfo-placeholder" }, "Waiting for the file…")));
      tab.wake();
    });
    return [make("span", { class: "astolfo-bake" }, button("Bake the winner", "Write it as a checkpoint, with recipe, scores and the study's name", act, "astolfo-act-bake"), ...(which ? [which] : []), "as", name)];
  }

  async function applyLive(view, winner) {
    const state = await ask("live", "PUT", winner.recipe);
    const undo = button("Take it out", "The model's own weights again", () => guard(view, async () => { await ask("live", "DELETE"); view.made.replaceChildren(); tab.wake(); }));
    view.made.replaceChildren(make("p", { class: "astolfo-about" }, `${state.model} now holds ${state.description}; found with ${winner.label}`), undo);
    tab.wake();
  }

  async function goOn(view, job) {
    await ask(job.kind, "POST", job.settings);
    press("#astolfo_search_latest");
    tab.wake();
  }

  function showStudy(view, job, news) {
    if (!view.acts) { build(view); view.news = []; }
    view.news.push(...news);
    for (const { text, data } of news) if (data && data.plan) view.planned = text;
    view.job = job;
    const grown = takeIn(view, job), redraw = () => draw(view, view.job);
    showHead(view, job);
    showBar(view, redraw);
    if (grown) draw(view, job);
    showVerdict(view, job);
    if (!BUSY.includes(job.state)) showAfter(view, job);
    const surfaces = job.files.filter((name) => /surface[^/]*\.png$/i.test(name) && !view.shown.has(name));
    for (const name of BUSY.includes(job.state) ? [] : surfaces) {
      view.shown.add(name);
      view.sheets.append(make("figure", { "data-file": name }, make("a", { href: view.address(name), target: "_blank" }, make("img", { src: view.address(name), alt: name, loading: "lazy" }))));
    }
  }

  Object.assign(tab, { showStudy, isStudy: (job) => KINDS.includes(job.kind), openTab, checkEnds, fieldsFilled: check });
})();
