// The Astolfo tab's browser side: job strip, polling, live redraw, block bars, errors at their fields.
// What jobs made is shown by astolfo_views.js, which takes its tools from here.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (window.astolfoTab) return;

  const API = new URL("astolfo/v1/", document.baseURI).href;
  const BUSY = ["queued", "running", "paused", "stopping"];
  const BUSY_WAIT = 1000, IDLE_WAIT = 5000, UNSEEN_WAIT = 500, REDRAW_WAIT = 150, REDRAW_LIMIT = 120000; // milliseconds
  const root = () => (window.gradioApp ? window.gradioApp() : document);
  const one = (selector, from) => (from || root()).querySelector(selector);
  const all = (selector, from) => Array.from((from || root()).querySelectorAll(selector));

  /** An element; text becomes text nodes, so nothing that came from a job is ever read as HTML. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.filter((child) => child != null && child !== ""));
    return element;
  }

  /** The answer as JSON; an error has the server's own words. */
  async function ask(path, method, body) {
    const sent = body ? { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : {};
    const answer = await fetch(API + path, { method: method || "GET", credentials: "same-origin", ...sent });
    if (answer.ok) return answer.json();
    const told = await answer.json().catch(() => ({}));
    const words = told.error || (told.where && `${told.where}: found ${told.found}; expected ${told.expected}`);
    throw Object.assign(new Error(words || `${answer.status} ${answer.statusText}`), { status: answer.status });
  }

  const jobPath = (job) => `jobs/${encodeURIComponent(job.id)}`;
  const number = (value) => String(Number.isInteger(value) ? value : Number(value.toPrecision(4)));

  function duration(seconds) {
    const s = Math.max(0, Math.round(seconds));
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  }

  // ---- the strip with the running job ----

  const ACTIONS = {
    pause: { states: ["running"], help: "Wait after the unit at hand" },
    resume: { states: ["paused"], help: "Go on" },
    stop: { states: ["queued", "running", "paused"], help: "End early and keep what is made" },
    cancel: { states: BUSY, help: "End and delete what this job made" },
  };

  function buildStrip(place) {
    const strip = { job: null, buttons: {}, name: make("strong"), text: make("span", { class: "astolfo-strip-text" }) };
    strip.done = make("div", { class: "astolfo-bar-done" });
    strip.rail = make("div", { class: "astolfo-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, strip.done);
    strip.left = make("span", { class: "astolfo-strip-left" });
    const box = make("span", { class: "astolfo-strip-buttons" });
    for (const [action, { help }] of Object.entries(ACTIONS)) {
      strip.buttons[action] = make("button", { type: "button", title: help }, action);
      strip.buttons[action].addEventListener("click", () => act(strip, action));
      box.append(strip.buttons[action]);
    }
    place.replaceChildren(strip.name, strip.text, strip.rail, strip.left, box);
    return (place.astolfoStrip = strip);
  }

  async function act(strip, action) {
    try {
      if (strip.job) await ask(`${jobPath(strip.job)}/${action}`, "POST");
      wake();
    } catch (error) {
      strip.text.textContent = `${action} did not work: ${error.message}`;
    }
  }

  function showStrip(jobs) {
    const place = one(".astolfo-strip");
    if (!place) return;
    const strip = place.astolfoStrip || buildStrip(place);
    const busy = jobs.filter((job) => BUSY.includes(job.state));
    const job = busy.find((entry) => entry.state !== "queued") || busy[busy.length - 1] || jobs[0] || null;
    strip.job = job;
    place.dataset.state = job ? job.state : "idle";
    strip.rail.hidden = !busy.length;
    for (const [action, { states }] of Object.entries(ACTIONS)) strip.buttons[action].hidden = !job || !states.includes(job.state);
    strip.name.textContent = !job ? "No job yet" : busy.length ? `${job.kind}: ${stateOf(job)}` : `Last job, ${job.kind}: ${job.state}`;
    strip.text.textContent = job ? job.error || (busy.length ? job.progress.text : "") : "";
    strip.left.textContent = "";
    if (!busy.length) return;
    const { done, total, seconds_left: left } = job.progress;
    const percent = total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 0;
    strip.done.style.width = `${percent}%`;
    strip.rail.setAttribute("aria-valuenow", percent);
    const words = [total > 0 && `${percent} %`, left != null && `${duration(left)} left`, busy.length > 1 && `${busy.length - 1} more`];
    strip.left.textContent = words.filter(Boolean).join(" · ");
  }

  const stateOf = (job) => (job.asked && BUSY.includes(job.state) ? `${job.state}, ${job.asked} asked` : job.state);

  // ---- polling: gently, and not at all in a hidden page ----

  let timer = 0, asking = false, hurry = false;

  /** The recipe in the loaded weights: what pictures are drawn with, whatever the list of checkpoints shows. */
  function showLive(state) {
    const place = one(".astolfo-live");
    if (!place) return;
    const { training } = state, words = [state.recipe && `Live merge in ${state.model}: ${state.description}`];
    if (training) words.push(`Training ${training.name} has ${training.model}: pictures are drawn at ratio ${number(training.ratio)} of ${training.weights === "ema" ? "its average" : "what it has learnt"}`);
    place.hidden = !words.some(Boolean);
    place.textContent = words.filter(Boolean).join(" · ");
  }

  /** Whether the tab is to be seen: in a WebUI it is one of many, and may not be there at all. */
  const inSight = () => one(".astolfo-strip")?.getClientRects().length > 0;

  /** Where the page is open to all and the REST API is not, the page was given a key: a picture's request has it too. */
  function showKey() {
    const { key } = one(".astolfo-strip").dataset;
    if (key) document.cookie = `astolfo-page-${location.port}=${key}; path=/; SameSite=Strict`;
  }

  async function poll() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    if (!inSight()) { timer = setTimeout(poll, UNSEEN_WAIT); return; }
    asking = true;
    hurry = false;
    let busy = false;
    showKey();
    try {
      const jobs = await ask("jobs?limit=20");
      busy = jobs.some((job) => BUSY.includes(job.state));
      showStrip(jobs);
      showLive(await ask("live"));
      for (const place of all(".astolfo-job[data-job]")) await window.astolfoTab.showJob?.(place);
    } catch (error) {
      showStrip([]);
      const place = one(".astolfo-strip");
      if (place) place.astolfoStrip.name.textContent = `The server does not answer (${error.message})`;
    }
    asking = false;
    watchErrors();
    showBars();
    timer = setTimeout(poll, hurry ? 0 : busy ? BUSY_WAIT : IDLE_WAIT);
  }

  function wake() {
    hurry = true;
    clearTimeout(timer);
    timer = setTimeout(poll, 100);
  }

  // ---- the live redraw: one drawing at a time, and after it the newest wish ----

  let drawingSince = 0, wished = false, redrawTimer = 0;

  function redraw() {
    clearTimeout(redrawTimer);
    redrawTimer = setTimeout(() => {
      wished = Date.now() - drawingSince < REDRAW_LIMIT;
      const place = one("#astolfo_lab_draw");
      if (!wished && place) (place.tagName === "BUTTON" ? place : one("button", place)).click();
    }, REDRAW_WAIT);
  }

  function drawing(since) {
    drawingSince = since;
    all(".astolfo-pictures").forEach((place) => place.classList.toggle("astolfo-pending", since > 0));
    if (!since && wished) redraw();
  }

  // ---- block ratios as bars, in step with the numbers in their text field ----

  const clamp = (value) => Math.min(1, Math.max(0, value));

  function showBars() {
    for (const place of all("[data-blocks]")) {
      const field = one(`#${place.dataset.target} textarea, #${place.dataset.target} input`);
      if (!field) continue;
      const bars = place.astolfoBars || buildBars(place, field);
      const given = field.value.split(/[\s,;]+/).filter(Boolean).map(Number);
      const right = given.length === bars.length && given.every(Number.isFinite);
      const ratio = Number((one(`#${place.dataset.ratio} input`) || {}).value || 0);
      place.classList.toggle("astolfo-unset", !right);
      bars.forEach((bar, index) => setBar(bar, right ? given[index] : ratio));
    }
  }

  function setBar(bar, value) {
    bar.astolfoValue = value;
    bar.firstChild.style.height = `${100 * clamp(value)}%`;
    bar.setAttribute("aria-valuenow", value);
    bar.title = `${bar.getAttribute("aria-label")} ${number(value)}`;
  }

  function buildBars(place, field) {
    const bars = JSON.parse(place.dataset.blocks).map((name) => make("div", { class: "astolfo-block", role: "slider", tabindex: 0, "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 1 }, make("div")));
    const put = (bar, value) => {
      setBar(bar, Math.round(100 * clamp(value)) / 100);
      field.value = bars.map((entry) => number(entry.astolfoValue)).join(", ");
      field.dispatchEvent(new Event("input", { bubbles: true }));
      place.classList.remove("astolfo-unset");
    };
    const rail = make("div", { class: "astolfo-blocks" }, ...bars.map((bar) => make("div", {}, bar, make("small", {}, bar.getAttribute("aria-label")))));
    const pull = (event) => {
      const bar = bars.find((entry) => event.clientX < entry.getBoundingClientRect().right) || bars[bars.length - 1];
      const box = bar.getBoundingClientRect();
      put(bar, 1 - (event.clientY - box.top) / box.height);
    };
    rail.addEventListener("pointerdown", (event) => { event.preventDefault(); rail.setPointerCapture(event.pointerId); pull(event); });
    rail.addEventListener("pointermove", (event) => { if (rail.hasPointerCapture(event.pointerId)) pull(event); });
    rail.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key], bar = event.target;
      if (step && bars.includes(bar)) { event.preventDefault(); put(bar, bar.astolfoValue + step); }
    });
    place.replaceChildren(rail);
    return (place.astolfoBars = bars);
  }

  // ---- errors at the field they concern ----

  function watchErrors() {
    for (const line of all(".astolfo-errors")) {
      if (line.astolfoMoved || line.parentElement.closest(".astolfo-errors")) continue; // gradio 3 puts the class on twice
      line.astolfoMoved = [];
      new MutationObserver(() => moveErrors(line)).observe(line, { childList: true, subtree: true });
      moveErrors(line);
    }
  }

  function moveErrors(line) {
    for (const old of line.astolfoMoved.splice(0)) { old.parentElement?.classList.remove("astolfo-bad"); old.remove(); }
    for (const error of all("[data-field]", line)) {
      const field = error.dataset.field && one(`#${CSS.escape(error.dataset.field)}`);
      if (!field || !field.offsetParent) continue; // not to be seen: it stays in the panel's own line
      const copy = make("p", { class: "astolfo-error", role: "alert" }, one("span", error).textContent);
      field.append(copy);
      field.classList.add("astolfo-bad");
      error.classList.add("astolfo-moved");
      line.astolfoMoved.push(copy);
      if (!window.astolfoTab.quiet) field.scrollIntoView({ block: "nearest" }); // while fields are filled nothing jumps
    }
  }

  window.astolfoTab = { redraw, drawingEnds: () => drawing(0), wake, showBars };
  Object.assign(window.astolfoTab, { API, BUSY, all, ask, duration, jobPath, make, number, one, stateOf });
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#astolfo_lab_draw")) drawing(Date.now());
    if (target.closest?.("[id$=_blocks_panel]")) setTimeout(showBars, 300); // newer gradio makes its inside when it opens
  }, true);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
  poll();
  if (one(".astolfo-pictures[data-draw]")) redraw();
})();
