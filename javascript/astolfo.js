// The Astolfo tab's browser side: the strip with the running job, what jobs made, the live redraw,
// block ratios as bars, errors at the field they concern.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (window.astolfoTab) return;

  const API = new URL("astolfo/v1/", document.baseURI).href;
  const BUSY = ["queued", "running", "paused", "stopping"];
  const BUSY_WAIT = 1000, IDLE_WAIT = 5000, REDRAW_WAIT = 150, REDRAW_LIMIT = 120000; // milliseconds
  const root = () => (window.gradioApp ? window.gradioApp() : document);
  const one = (selector, from) => (from || root()).querySelector(selector);
  const all = (selector, from) => Array.from((from || root()).querySelectorAll(selector));

  /** An element; text becomes text nodes, so nothing from a job is ever read as HTML. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null && child !== ""));
    return element;
  }

  async function ask(path, method) {
    const answer = await fetch(API + path, { method: method || "GET", credentials: "same-origin" });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return answer.json();
  }

  // ---- words ----------------------------------------------------------------------------------------------------

  function duration(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  }

  const number = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));
  const share = (progress) => (progress.total > 0 ? Math.min(1, progress.done / progress.total) : 0);

  function state(job) {
    if (job.asked && !["done", "failed", "stopped"].includes(job.state)) return `${job.state}, ${job.asked} asked`;
    return job.state;
  }

  // ---- the strip ------------------------------------------------------------------------------------------------

  const ACTIONS = {
    pause: ["running"], resume: ["paused"], stop: ["queued", "running", "paused"],
    cancel: ["queued", "running", "paused", "stopping"],
  };
  const HELP = {
    pause: "Wait after the unit at hand", resume: "Go on", stop: "End early and keep what is made",
    cancel: "End and delete what this job made",
  };

  function buildStrip(place) {
    const strip = {
      place, job: null,
      name: make("strong"), text: make("span", { class: "astolfo-strip-text" }),
      bar: make("div", { class: "astolfo-bar-done" }), left: make("span", { class: "astolfo-strip-left" }),
      buttons: {},
    };
    strip.rail = make("div", { class: "astolfo-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, strip.bar);
    const box = make("span", { class: "astolfo-strip-buttons" });
    for (const action of Object.keys(ACTIONS)) {
      strip.buttons[action] = make("button", { type: "button", title: HELP[action], onclick: () => act(strip, action) }, action);
      box.append(strip.buttons[action]);
    }
    place.replaceChildren(strip.name, strip.text, strip.rail, strip.left, box);
    return (place.astolfoStrip = strip);
  }

  async function act(strip, action) {
    if (!strip.job) return;
    try {
      await ask(`jobs/${encodeURIComponent(strip.job.id)}/${action}`, "POST");
    } catch (error) {
      strip.text.textContent = `${action} did not work: ${error.message}`;
    }
    wake();
  }

  function showStrip(jobs) {
    const place = one(".astolfo-strip");
    if (!place) return;
    const strip = place.astolfoStrip || buildStrip(place);
    const busy = jobs.filter((job) => BUSY.includes(job.state));
    const job = busy.find((entry) => entry.state !== "queued") || busy[busy.length - 1] || jobs[0];
    strip.job = job || null;
    const running = busy.length > 0;
    place.dataset.state = job ? job.state : "idle";
    strip.rail.hidden = !running;
    for (const [action, states] of Object.entries(ACTIONS)) strip.buttons[action].hidden = !running || !states.includes(job.state);
    strip.name.textContent = !job ? "No job yet" : running ? `${job.kind}: ${state(job)}` : `Last job, ${job.kind}: ${job.state}`;
    strip.text.textContent = job ? job.error || (running ? job.progress.text : "") : "";
    strip.left.textContent = "";
    if (!running) return;
    const percent = Math.round(100 * share(job.progress));
    strip.bar.style.width = `${percent}%`;
    strip.rail.setAttribute("aria-valuenow", percent);
    const left = job.progress.seconds_left, words = [job.progress.total ? `${percent} %` : ""];
    if (left != null) words.push(`${duration(left)} left`);
    if (busy.length > 1) words.push(`${busy.length - 1} waiting`);
    strip.left.textContent = words.filter(Boolean).join(" · ");
  }

  // ---- what jobs made -------------------------------------------------------------------------------------------

  const address = (job, name) => `${API}jobs/${encodeURIComponent(job.id)}/files/${name.split("/").map(encodeURIComponent).join("/")}`;
  const isPicture = (name) => /\.(png|jpe?g|webp|svg)$/i.test(name);

  function card(view, job) {
    const head = make("p", { class: "astolfo-job-state", "data-state": job.state },
      `${job.kind} ${state(job)}`, job.progress.text && BUSY.includes(job.state) ? ` · ${job.progress.text}` : "");
    const parts = [head];
    if (job.error) parts.push(make("p", { class: "astolfo-error", role: "alert" }, job.error));
    if (job.result) parts.push(...resultParts(job.result));
    view.head.replaceChildren(...parts);
  }

  /** A result as a table of its plain values; lists (keys that were not merged, notes) fold away behind their length. */
  function resultParts(result) {
    const rows = [], folded = [];
    for (const [name, value] of Object.entries(result)) {
      const words = name.replaceAll("_", " ");
      if (Array.isArray(value) && value.length && value.every((entry) => typeof entry !== "object")) {
        folded.push(make("details", {}, make("summary", {}, `${words}: ${value.length}`),
          make("ul", {}, ...value.slice(0, 500).map((entry) => make("li", {}, String(entry))))));
      } else if (value !== null && typeof value === "object") {
        const inner = Object.entries(value).filter(([, entry]) => entry === null || typeof entry !== "object");
        if (inner.length) rows.push([words, inner.map(([key, entry]) => `${key} ${plain(entry)}`).join(", ")]);
      } else if (value !== null && value !== "") rows.push([words, plain(value)]);
    }
    const table = make("table", {}, ...rows.map(([key, value]) => make("tr", {}, make("th", {}, key), make("td", {}, value))));
    return rows.length ? [table, ...folded] : folded;
  }

  const plain = (value) => (typeof value === "number" ? number(value) : String(value));

  function gallery(view, job) {
    const fresh = job.files.filter((name) => isPicture(name) && !view.shown.has(name));
    for (const name of fresh) {
      view.shown.add(name);
      const link = make("a", { href: address(job, name), target: "_blank", title: name }, make("img", { src: address(job, name), alt: name, loading: "lazy" }));
      const wide = !name.includes("/");
      (wide ? view.sheets : view.cells).append(make("figure", { "data-file": name }, link, make("figcaption", {}, name.split("/").pop().replace(/\.\w+$/, ""))));
    }
    const pages = job.files.filter((name) => /\.(html|csv|jsonl?|ya?ml|safetensors)$/i.test(name));
    view.links.replaceChildren(...pages.map((name) => make("a", { href: address(job, name), target: "_blank" }, name)));
  }

  async function showView(place) {
    const id = place.dataset.job;
    if (!id) return;
    let view = place.astolfoView;
    if (!view || view.id !== id) {
      view = place.astolfoView = { id, over: false, shown: new Set() };
      for (const part of ["head", "links", "sheets", "cells"]) view[part] = make("div", { class: `astolfo-${part}` });
      place.replaceChildren(view.head, view.links, view.sheets, view.cells);
    }
    if (view.over) return;
    const job = await ask(`jobs/${encodeURIComponent(id)}`);
    card(view, job);
    gallery(view, job);
    view.over = !BUSY.includes(job.state);
  }

  // ---- polling --------------------------------------------------------------------------------------------------

  let timer = 0, asking = false;

  async function poll() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    let busy = false;
    try {
      const answer = await ask("jobs?limit=20");
      const jobs = Array.isArray(answer) ? answer : answer.jobs;
      busy = jobs.some((job) => BUSY.includes(job.state));
      showStrip(jobs);
      for (const place of all(".astolfo-job[data-job]")) await showView(place);
    } catch (error) {
      const place = one(".astolfo-strip");
      if (place && place.astolfoStrip) place.astolfoStrip.text.textContent = `The server does not answer (${error.message})`;
    }
    asking = false;
    watchErrors();
    showBars();
    timer = setTimeout(poll, busy ? BUSY_WAIT : IDLE_WAIT);
  }

  function wake() {
    clearTimeout(timer);
    timer = setTimeout(poll, 100);
  }

  // ---- the live redraw: one drawing at a time, the newest wish after it ----------------------------------------------

  let drawing = 0, wished = 0;

  function redraw() {
    clearTimeout(wished);
    wished = setTimeout(() => {
      wished = 0;
      if (drawing && Date.now() - drawing < REDRAW_LIMIT) return (wished = -1);
      const place = one("#astolfo_lab_draw");
      const button = place && (place.tagName === "BUTTON" ? place : one("button", place));
      if (button) button.click();
    }, REDRAW_WAIT);
  }

  function drawingStarts() {
    drawing = Date.now();
    all(".astolfo-pictures").forEach((place) => place.classList.add("astolfo-pending"));
  }

  function drawingEnds() {
    drawing = 0;
    all(".astolfo-pictures").forEach((place) => place.classList.remove("astolfo-pending"));
    if (wished === -1) redraw();
  }

  // ---- block ratios as bars, in step with the numbers in their text field ----------------------------------------------

  const numbers = (text) => text.split(/[\s,;]+/).filter(Boolean).map(Number);

  function showBars() {
    for (const place of all("[data-blocks]")) {
      const field = one(`#${place.dataset.target} textarea, #${place.dataset.target} input`);
      if (!field) continue;
      if (!place.astolfoBars) buildBars(place, field);
      const given = numbers(field.value), names = place.astolfoNames;
      const right = given.length === names.length && given.every(Number.isFinite);
      place.classList.toggle("astolfo-unset", !right);
      place.astolfoBars.forEach((bar, index) => setBar(bar, right ? given[index] : ratioOf(place)));
    }
  }

  function ratioOf(place) {
    const field = one(`#${place.dataset.ratio} input`);
    return field && field.value !== "" ? Number(field.value) : 0;
  }

  function setBar(bar, value) {
    bar.astolfoValue = value;
    bar.firstChild.style.height = `${100 * Math.min(1, Math.max(0, value))}%`;
    bar.setAttribute("aria-valuenow", value);
    bar.title = `${bar.astolfoName} ${number(value)}`;
  }

  function buildBars(place, field) {
    place.astolfoNames = JSON.parse(place.dataset.blocks);
    const write = () => {
      field.value = place.astolfoBars.map((bar) => number(bar.astolfoValue)).join(", ");
      field.dispatchEvent(new Event("input", { bubbles: true }));
      place.classList.remove("astolfo-unset");
    };
    const pull = (event) => {
      const column = place.astolfoBars.find((bar) => event.clientX < bar.getBoundingClientRect().right) || place.astolfoBars[place.astolfoBars.length - 1];
      const box = column.getBoundingClientRect();
      setBar(column, Math.round(100 * Math.min(1, Math.max(0, 1 - (event.clientY - box.top) / box.height))) / 100);
      write();
    };
    place.astolfoBars = place.astolfoNames.map((name) => {
      const bar = make("div", { class: "astolfo-block", role: "slider", tabindex: 0, "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 1 }, make("div", {}));
      bar.astolfoName = name;
      bar.addEventListener("keydown", (event) => {
        const step = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key];
        if (!step) return;
        event.preventDefault();
        setBar(bar, Math.round(100 * Math.min(1, Math.max(0, bar.astolfoValue + step))) / 100);
        write();
      });
      return bar;
    });
    const rail = make("div", { class: "astolfo-blocks" }, ...place.astolfoBars.map((bar) => make("div", {}, bar, make("small", {}, bar.astolfoName))));
    rail.addEventListener("pointerdown", (event) => { rail.setPointerCapture(event.pointerId); pull(event); event.preventDefault(); });
    rail.addEventListener("pointermove", (event) => { if (rail.hasPointerCapture(event.pointerId)) pull(event); });
    place.replaceChildren(rail);
  }

  // ---- errors at the field they concern ---------------------------------------------------------------------------

  function watchErrors() {
    for (const line of all(".astolfo-errors")) {
      if (line.astolfoWatched || line.parentElement.closest(".astolfo-errors")) continue; // gradio 3 puts the class on twice
      line.astolfoWatched = true;
      new MutationObserver(() => placeErrors(line)).observe(line, { childList: true, subtree: true, characterData: true });
      placeErrors(line);
    }
  }

  function placeErrors(line) {
    for (const old of line.astolfoPlaced || []) { old.parentElement && old.parentElement.classList.remove("astolfo-bad"); old.remove(); }
    line.astolfoPlaced = [];
    for (const error of all("[data-field]", line)) {
      const field = error.dataset.field && one(`#${CSS.escape(error.dataset.field)}`);
      if (!field || !field.offsetParent) continue;
      const copy = make("p", { class: "astolfo-error", role: "alert" }, error.lastChild.textContent);
      field.append(copy);
      field.classList.add("astolfo-bad");
      error.classList.add("astolfo-moved");
      line.astolfoPlaced.push(copy);
      if (line.astolfoPlaced.length === 1) field.scrollIntoView({ block: "nearest" });
    }
  }

  window.astolfoTab = { redraw, drawingEnds, wake, showBars };
  document.addEventListener("click", (event) => { if (event.target.closest && event.target.closest("#astolfo_lab_draw")) drawingStarts(); }, true);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
  poll();
  if (one(".astolfo-pictures[data-draw]")) redraw();
})();
