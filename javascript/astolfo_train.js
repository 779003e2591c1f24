// A training while it runs and afterwards: what to do with it, the ratio's slider, curves, previews. It needs astolfo.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showTraining) return;
  const tab = window.astolfoTab;
  const { API, BUSY, ask, duration, jobPath, make, number, stateOf } = tab;
  const RATIO_WAIT = 120; // milliseconds after the slider rests

  const ACTS = [
    ["pause", "Pause", ["running"], "Save a checkpoint and wait; the model is free meanwhile"],
    ["resume", "Resume", ["paused"], "Go on"],
    ["stop", "Stop and keep", ["queued", "running", "paused"], "Save a checkpoint and what was learnt"],
    ["cancel", "Discard", BUSY, "End; nothing of it stays in the model"],
  ];

  function build(view) {
    for (const part of ["acts", "live", "curves", "sheet", "after", "notes", "data"]) view[part] = make("div", { class: `astolfo-run-${part}` });
    view.head.after(view.acts, view.live, view.notes, view.curves, view.sheet);
    view.words.after(view.after, view.data);
    view.problem = make("p", { class: "astolfo-error" });
    view.acts.append(...ACTS.map(([act, words, , help]) => {
      const button = make("button", { type: "button", class: `astolfo-button astolfo-act-${act}`, title: help }, words);
      button.addEventListener("click", () => press(view, async () => { await ask(`${jobPath(view)}/${act}`, "POST"); tab.wake(); }));
      return button;
    }), view.problem);
    view.run = { told: null, sheet: -1, after: "" };
  }

  async function press(view, act) {
    view.problem.textContent = "";
    try { await act(); } catch (error) { view.problem.textContent = error.message; }
  }

  // ---- what pictures are drawn with while it runs ----

  function showLive(view, training) {
    if (!training || training.ratio == null) { view.live.replaceChildren(); view.slider = null; return; }
    if (!view.slider) buildLive(view, training);
    if (document.activeElement !== view.slider && !view.sending) { view.slider.value = training.ratio; view.ratio.textContent = number(training.ratio); }
    for (const input of view.kinds) { input.checked = input.value === training.weights; input.disabled = input.value === "ema" && !training.averaged; }
    const base = Number(view.slider.value) === 0;
    view.means.textContent = base ? "Pictures are the base's, bit for bit" : `Pictures are drawn with ${number(Number(view.slider.value))} of what was learnt${training.weights === "ema" ? ", averaged" : ""}`;
  }

  function buildLive(view, training) {
    const name = `astolfo-weights-${view.id}`;
    view.slider = make("input", { type: "range", min: 0, max: 1.5, step: 0.01, value: training.ratio, "aria-label": "Ratio of the running training" });
    view.ratio = make("output", {}, number(training.ratio));
    view.means = make("p", { class: "astolfo-about" });
    const jump = (value, words) => {
      const button = make("button", { type: "button", class: "astolfo-button" }, words);
      button.addEventListener("click", () => { view.slider.value = value; view.slider.dispatchEvent(new Event("input")); });
      return button;
    };
    view.kinds = [];
    const kind = (value, words) => {
      const input = make("input", { type: "radio", name, value });
      view.kinds.push(input);
      input.addEventListener("change", () => press(view, () => send(view, { weights: value })));
      return make("label", {}, input, words);
    };
    view.slider.addEventListener("input", () => {
      view.ratio.textContent = number(Number(view.slider.value));
      view.sending = true;
      clearTimeout(view.timer);
      view.timer = setTimeout(() => press(view, () => send(view, { ratio: Number(view.slider.value) })), RATIO_WAIT);
    });
    view.live.replaceChildren(
      make("h4", {}, "Pictures meanwhile"),
      make("div", { class: "astolfo-ratio" }, jump(0, "Base"), view.slider, view.ratio, jump(1, "Trained")),
      make("div", { class: "astolfo-kinds" }, kind("trained", "Weights as trained"), kind("ema", "Their average (EMA)")),
      view.means,
    );
  }

  async function send(view, values) {
    try { showLive(view, (await ask("live", "PUT", { training: { job: view.id, ...values } })).training || (await ask("live")).training); }
    finally { view.sending = false; }
  }

  // ---- curves and previews ----

  async function follow(view, name) {
    const { run } = view;
    const found = await ask(`training/${encodeURIComponent(view.id)}/curves?mark=${encodeURIComponent(run.told ? run.told.mark : "")}`);
    const fresh = !run.told || (found.fresh && found.mark !== run.told.mark);
    const grown = fresh || found.mark !== run.told.mark;
    if (fresh) run.told = found;
    else for (const [kind, rows] of Object.entries(found)) run.told[kind] = Array.isArray(rows) ? [...run.told[kind], ...rows] : rows;
    if (run.told.steps.length > 1200) run.told.steps = thin(run.told.steps);
    if (!grown) return;
    if (run.told.steps.length || run.told.validation.length) tab.showCurves?.(view.curves, run.told);
    showSheet(view, name);
    showNotes(view);
  }

  /** Pairs of groups as one. */
  function thin(groups) {
    const made = [];
    for (let at = 0; at < groups.length; at += 2) {
      const [a, b] = [groups[at], groups[at + 1]];
      if (!b) { made.push(a); continue; }
      const both = { ...b, count: a.count + b.count, skipped: a.skipped + b.skipped, rate: Math.max(a.rate, b.rate) };
      for (const name of ["loss", "raw", "relative", "norm", "moved"]) both[name] = a[name] == null || b[name] == null ? (a[name] ?? b[name]) : (a[name] * a.count + b[name] * b.count) / both.count;
      const bins = new Map();
      for (const [place, n, total] of [...a.bins, ...b.bins]) { const held = bins.get(place) || [0, 0]; bins.set(place, [held[0] + n, held[1] + total]); }
      both.bins = [...bins].map(([place, held]) => [place, ...held]);
      made.push(both);
    }
    return made;
  }

  function showSheet(view, name) {
    const { told } = view.run, last = told.preview.length ? told.preview[told.preview.length - 1].step : -1;
    if (last < 0 || last === view.run.sheet) return;
    view.run.sheet = last;
    const address = `${API}training/${encodeURIComponent(name)}/files/previews/sheet.png?step=${last}`;
    const picture = make("img", { src: address, alt: `Previews up to step ${last}` });
    picture.addEventListener("error", () => view.sheet.replaceChildren());
    view.sheet.replaceChildren(make("h4", {}, "Previews"), make("a", { href: address, target: "_blank" }, picture));
  }

  function showNotes(view) {
    const { alarm, rollback, drift } = view.run.told;
    const rows = [...alarm.map((row) => ["caution", `step ${row.step}: ${row.text} (${row.action})`]), ...rollback.map((row) => ["caution", `rolled back from step ${row.from} to ${row.step}`])];
    if (drift.length) rows.push(["found", drift[drift.length - 1].words]);
    view.notes.replaceChildren(rows.length ? make("ul", { class: "astolfo-verdict" }, ...rows.slice(-8).map(([level, text]) => make("li", { "data-level": level }, text))) : "");
  }

  // ---- afterwards: grid and bake ----

  function showAfter(view, training) {
    const snapshots = (training && training.snapshots) || [], key = `${training ? training.name : ""} ${snapshots.length} ${training && training.resumable}`;
    if (!snapshots.length && !(training && training.resumable)) { view.after.replaceChildren(); view.run.after = ""; return; }
    if (view.run.after === key) return;
    view.run.after = key;
    const path = `training/${encodeURIComponent(training.name)}`, made = make("div", { class: "astolfo-run-made" });
    const start = (act, body) => press(view, async () => {
      const job = await ask(`${path}/${act}`, "POST", body());
      made.replaceChildren(make("div", { class: "astolfo-job", "data-job": job.id, "data-kind": act }, make("p", { class: "astolfo-placeholder" }, "Waiting…")));
      tab.wake();
    });
    const which = make("select", { "aria-label": "Snapshot" }, ...[...snapshots].reverse().map(({ step }, at) => make("option", { value: step }, at ? `step ${step}` : `step ${step}, the last`)));
    const ratio = make("input", { type: "number", min: 0, max: 2, step: 0.01, value: 0.85, "aria-label": "Ratio of the baked file" });
    const button = (words, help, act) => { const one = make("button", { type: "button", class: "astolfo-button", title: help }, words); one.addEventListener("click", act); return one; };
    const row = make("div", { class: "astolfo-after" });
    if (snapshots.length) {
      row.append(button("Grid over ratio × uncond", "Draw and score the snapshots at ratios and unconds", () => start("grid", () => ({}))));
      row.append(make("span", { class: "astolfo-bake" }, button("Bake", "Write a checkpoint with this much of what was learnt", () => start("bake", () => ({ ratio: Number(ratio.value), snapshot: which.value }))), "at", ratio, "of", which));
    }
    if (training.resumable) row.append(button("Go on with it", "From its last checkpoint", () => start("resume", () => ({}))));
    const list = make("details", { class: "astolfo-fold" }, make("summary", {}, `snapshots: ${snapshots.length}`), make("ul", {}, ...snapshots.map(({ name, bytes }) => make("li", {}, `${name} · ${number(bytes / 1e6)} MB`))));
    view.after.replaceChildren(make("h4", {}, "What it has learnt"), row, ...(snapshots.length ? [list] : []), make("p", { class: "astolfo-about" }, training.folder || ""), made);
  }

  async function showTraining(view, job) {
    if (!view.acts) build(view);
    const busy = BUSY.includes(job.state), { settings } = job;
    for (const [act, , states] of ACTS) view.acts.querySelector(`.astolfo-act-${act}`).hidden = !states.includes(job.state) || (settings.report && ["pause", "resume"].includes(act));
    const { done, total, text, seconds_left: left } = job.progress, words = [`${settings.report ? "report" : job.kind} ${stateOf(job)}`];
    if (busy) words.push(text, total > 0 && `${Math.floor((100 * done) / total)} %`, left != null && `${duration(left)} left`);
    view.head.replaceChildren(make("p", { class: "astolfo-job-state" }, words.filter(Boolean).join(" · ")), ...(job.error ? [make("p", { class: job.state === "failed" ? "astolfo-error" : "astolfo-about" }, job.error)] : []));
    if (job.kind === "caption" || settings.report) {
      if (job.result) (job.kind === "caption" ? tab.showCaptions : tab.showData)?.(view, job);
      return;
    }
    const { training } = job;
    showLive(view, busy ? training : null);
    if (training) await follow(view, training.name);
    if (!busy) showAfter(view, training);
    view.words.replaceChildren(...(job.result && job.result.summary && !busy ? [make("pre", {}, job.result.summary)] : []));
  }

  tab.showTraining = showTraining;
})();
